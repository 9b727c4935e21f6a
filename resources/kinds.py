"""The one list of kinds. The API, the store and the engine know kinds by it alone."""

from typing import Final

from resources.app import App
from resources.bucket import Bucket
from resources.core import ConfigMap, Event, Namespace, Secret
from resources.database import Database
from resources.host import Host
from resources.mailalias import MailAlias
from resources.mailbox import Mailbox
from resources.maildomain import MailDomain
from resources.meta import KindInfo, Record
from resources.model import Model
from resources.platform import Platform
from resources.quota import Quota
from resources.recordset import RecordSet
from resources.volume import Volume
from resources.vpnnetwork import VpnNetwork
from resources.vpnpeer import VpnPeer
from resources.zone import Zone

KINDS: Final[tuple[type[Record], ...]] = (
    Namespace,
    Secret,
    ConfigMap,
    Event,
    Host,
    Quota,
    Volume,
    Database,
    App,
    Platform,
    Bucket,
    Zone,
    RecordSet,
    Model,
    MailDomain,
    Mailbox,
    MailAlias,
    VpnNetwork,
    VpnPeer,
)

KIND_INFOS: Final[dict[str, KindInfo]] = {model.info.kind: model.info for model in KINDS}
"""By kind; kind names are unique across groups."""
MODELS: Final[dict[str, type[Record]]] = {model.info.kind: model for model in KINDS}
"""By kind."""
