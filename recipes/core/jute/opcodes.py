"""Numbers of the client protocol: operations, reserved xids, create flags, events, permissions.

Source: ZooDefs.java, CreateMode.java, Watcher.java.
"""

from typing import Final

CREATE: Final = 1
DELETE: Final = 2
EXISTS: Final = 3
GET_DATA: Final = 4
SET_DATA: Final = 5
GET_ACL: Final = 6
SET_ACL: Final = 7
GET_CHILDREN: Final = 8
SYNC: Final = 9
PING: Final = 11
GET_CHILDREN2: Final = 12
CHECK: Final = 13
MULTI: Final = 14
CREATE2: Final = 15
RECONFIG: Final = 16
CHECK_WATCHES: Final = 17
REMOVE_WATCHES: Final = 18
CREATE_CONTAINER: Final = 19
DELETE_CONTAINER: Final = 20
CREATE_TTL: Final = 21
MULTI_READ: Final = 22
AUTH: Final = 100
SET_WATCHES: Final = 101
SASL: Final = 102
GET_EPHEMERALS: Final = 103
GET_ALL_CHILDREN_NUMBER: Final = 104
SET_WATCHES2: Final = 105
ADD_WATCH: Final = 106
WHO_AM_I: Final = 107
CREATE_SESSION: Final = -10
CLOSE_SESSION: Final = -11
ERROR: Final = -1

NOTIFICATION_XID: Final = -1
PING_XID: Final = -2
AUTH_XID: Final = -4
SET_WATCHES_XID: Final = -8

PERSISTENT: Final = 0
EPHEMERAL: Final = 1
PERSISTENT_SEQUENTIAL: Final = 2
EPHEMERAL_SEQUENTIAL: Final = 3
CONTAINER: Final = 4
PERSISTENT_WITH_TTL: Final = 5
PERSISTENT_SEQUENTIAL_WITH_TTL: Final = 6
SEQUENTIAL_FLAGS: Final = frozenset((PERSISTENT_SEQUENTIAL, EPHEMERAL_SEQUENTIAL, PERSISTENT_SEQUENTIAL_WITH_TTL))

EVENT_NONE: Final = -1
EVENT_CREATED: Final = 1
EVENT_DELETED: Final = 2
EVENT_DATA: Final = 3
EVENT_CHILDREN: Final = 4

WATCH_CHILDREN: Final = 1
WATCH_DATA: Final = 2
WATCH_ANY: Final = 3
WATCH_PERSISTENT: Final = 4
WATCH_PERSISTENT_RECURSIVE: Final = 5

ADD_WATCH_PERSISTENT: Final = 0
ADD_WATCH_PERSISTENT_RECURSIVE: Final = 1

READ: Final = 1
WRITE: Final = 2
CREATE_PERM: Final = 4
DELETE_PERM: Final = 8
ADMIN: Final = 16
ALL: Final = 31

OPCODE_NAMES: Final = {
    CREATE: "create", DELETE: "delete", EXISTS: "exists", GET_DATA: "getData", SET_DATA: "setData",
    GET_ACL: "getACL", SET_ACL: "setACL", GET_CHILDREN: "getChildren", SYNC: "sync", PING: "ping",
    GET_CHILDREN2: "getChildren2", CHECK: "check", MULTI: "multi", CREATE2: "create2", RECONFIG: "reconfig",
    CHECK_WATCHES: "checkWatches", REMOVE_WATCHES: "removeWatches", CREATE_CONTAINER: "createContainer",
    DELETE_CONTAINER: "deleteContainer", CREATE_TTL: "createTTL", MULTI_READ: "multiRead", AUTH: "auth",
    SET_WATCHES: "setWatches", SASL: "sasl", GET_EPHEMERALS: "getEphemerals",
    GET_ALL_CHILDREN_NUMBER: "getAllChildrenNumber", SET_WATCHES2: "setWatches2", ADD_WATCH: "addWatch",
    WHO_AM_I: "whoAmI", CREATE_SESSION: "createSession", CLOSE_SESSION: "closeSession", ERROR: "error",
}  # fmt: skip
