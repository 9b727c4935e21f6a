#!/bin/sh
# Turns a fresh debootstrap tree into the base of our images: security updates in, documentation out.
# usage: customize.sh ROOT SECURITY_URI ("" = none known)
set -eu
root=$1 security=$2

# What later installs may leave out, and no fsync after each file: a broken build is built again.
cat >"$root/etc/dpkg/dpkg.cfg.d/small" <<'CFG'
force-unsafe-io
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
CFG
cat >"$root/etc/apt/apt.conf.d/small" <<'CFG'
APT::Install-Recommends "false";
Acquire::Languages "none";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
CFG
# Services are started by the container's own command, never by a package's install script.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

if [ -n "$security" ]; then
  echo "deb $security bookworm-security main" >>"$root/etc/apt/sources.list"
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" apt-get -qq update
  DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -qq -y dist-upgrade
fi

find "$root/usr/share/doc" -type f ! -name copyright -delete
find "$root/usr/share/doc" -depth -type d -empty -delete
rm -rf "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/usr/share/locale/* \
  "$root"/usr/share/lintian/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* \
  "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/* \
  "$root"/etc/machine-id "$root"/etc/resolv.conf "$root"/etc/hostname "$root"/dev/*
mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/log/apt"
