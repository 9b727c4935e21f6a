# Sourced: where SeaweedFS finds the certificates of its inner gRPC ports.
#
# The S3 gateway opens one of them (18333) on every address, and without certificates whoever
# reaches it may hand it identities. So each start makes an authority whose key is thrown away at
# once, and all parts want a certificate of it: nobody outside this container has one.
TLS=/tmp/weed-tls
export WEED_GRPC_CA=$TLS/ca.pem
for part in MASTER VOLUME FILER S3 CLIENT; do
  export "WEED_GRPC_${part}_CERT=$TLS/part.pem" "WEED_GRPC_${part}_KEY=$TLS/part.key"
done
