/* etcd's v3 API as its own clients speak it: gRPC over cleartext HTTP/2, requests multiplexed on one connection.
 *
 * Request number xid is HTTP/2 stream 2 * xid - 1. Header compression is switched off both ways (a table of 0 bytes, only
 * literals sent), so a message can be judged by itself. Gets are `serializable`, answered by the member asked from what it has
 * applied, as ZooKeeper's are. CREATE is a plain put. LOCK is a put under the lease that stands for the session, at a key
 * of our choosing; CHILDREN ranges over the prefix.
 */
#include "loadgen.h"

enum { DATA_FRAME = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { FRAME_HEADER = 9, END_STREAM = 1, ACK = 1, END_HEADERS = 4, LEASE_SECONDS = 600, LEASE_XID = 1 };
enum { PUT_KEY = 1, PUT_VALUE = 2, PUT_LEASE = 3, RANGE_KEY = 1, RANGE_END = 2, SERIALIZABLE = 7, KEYS_ONLY = 8 };

static uint64_t lease;

static unsigned char *put_frame(unsigned char *at, size_t length, int type, int flags, int32_t stream) {
    put_int(at, (int32_t)(length << 8)), at[3] = (unsigned char)type, at[4] = (unsigned char)flags;
    return put_int(at + 5, stream);
}

static unsigned char *put_varint(unsigned char *at, uint64_t value) {
    for (; value > 127; value >>= 7) *at++ = (unsigned char)(value | 128);
    return *at = (unsigned char)value, at + 1;
}

static unsigned char *put_number(unsigned char *at, int field, uint64_t value) {
    return put_varint(put_varint(at, (uint64_t)field << 3), value);
}

static unsigned char *put_bytes(unsigned char *at, int field, const void *bytes, size_t length) {
    at = put_varint(put_varint(at, (uint64_t)field << 3 | 2), length);
    memcpy(at, bytes, length);
    return at + length;
}

static unsigned char *put_header(unsigned char *at, const char *prefix, size_t prefix_length, const char *value) {
    memcpy(at, prefix, prefix_length), at += prefix_length;
    *at++ = (unsigned char)strlen(value);
    memcpy(at, value, strlen(value));
    return at + strlen(value);
}

/* HEADERS and one DATA frame with one gRPC message; a watch keeps its sending side open. */
static size_t put_call(unsigned char *frame, int xid, const char *method, const void *message, size_t length, int ends) {
    int32_t stream = 2 * xid - 1;
    unsigned char *at = frame + FRAME_HEADER;
    *at++ = 0x83, *at++ = 0x86; /* :method POST, :scheme http; then :path, :authority, content-type, te */
    at = put_header(at, "\x04", 1, method);
    at = put_header(at, "\x01", 1, "localhost");
    at = put_header(at, "\x0f\x10", 2, "application/grpc");
    at = put_header(at, "\0\2te", 4, "trailers");
    put_frame(frame, (size_t)(at - frame) - FRAME_HEADER, HEADERS, END_HEADERS, stream);
    at = put_frame(at, length + 5, DATA_FRAME, ends ? END_STREAM : 0, stream);
    *at++ = 0; /* not compressed */
    at = put_int(at, (int32_t)length);
    memcpy(at, message, length);
    return (size_t)(at - frame) + length;
}

static size_t encode(unsigned char *frame, int xid, Op op, const char *path) {
    unsigned char message[FRAME_BYTES], key[FRAME_BYTES], data[DATA_BYTES], *at = message;
    size_t key_length = strlen(path);
    memcpy(key, path, key_length);
    if (op == CHILDREN) key[key_length++] = '/';
    switch (op) {
    case SET: case CREATE: case LOCK:
        memset(data, 'x', sizeof data);
        at = put_bytes(put_bytes(at, PUT_KEY, key, key_length), PUT_VALUE, data, sizeof data);
        if (op == LOCK) at = put_number(at, PUT_LEASE, lease);
        return put_call(frame, xid, "/etcdserverpb.KV/Put", message, (size_t)(at - message), 1);
    case GET: case SYNC: case CHILDREN:
        at = put_bytes(at, RANGE_KEY, key, key_length);
        if (op == CHILDREN) key[key_length - 1] = '/' + 1, at = put_bytes(at, RANGE_END, key, key_length);
        if (op == CHILDREN) at = put_number(at, KEYS_ONLY, 1);
        if (op != SYNC) at = put_number(at, SERIALIZABLE, 1);
        return put_call(frame, xid, "/etcdserverpb.KV/Range", message, (size_t)(at - message), 1);
    case DELETE:
        at = put_bytes(at, RANGE_KEY, key, key_length);
        return put_call(frame, xid, "/etcdserverpb.KV/DeleteRange", message, (size_t)(at - message), 1);
    case WATCH: {
        unsigned char create[FRAME_BYTES], *end = put_bytes(create, RANGE_KEY, key, key_length);
        at = put_bytes(at, 1, create, (size_t)(end - create));
        return put_call(frame, xid, "/etcdserverpb.Watch/Watch", message, (size_t)(at - message), 0);
    }
    case CLOSE: break; /* etcd has no sessions to close */
    }
    return 0;
}

static int greet(int fd, int timeout_ms) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    unsigned char out[FRAME_BYTES], grant[FRAME_BYTES], *at = out + sizeof preface - 1;
    (void)timeout_ms;
    memcpy(out, preface, sizeof preface - 1);
    at = put_frame(at, 12, SETTINGS, 0, 0); /* HEADER_TABLE_SIZE 0, INITIAL_WINDOW_SIZE 1 MiB */
    memcpy(at, "\0\1\0\0\0\0\0\4\0\20\0\0", 12), at += 12;
    at = put_int(put_frame(at, 4, WINDOW_UPDATE, 0, 0), INT32_MAX - 65535); /* 2 GiB, more than one run receives */
    lease = lease ? lease + 1 : (uint64_t)(now() * 1e9) << 8 | 1;
    unsigned char *end = put_number(put_number(grant, 1, LEASE_SECONDS), 2, lease & INT64_MAX);
    at += put_call(at, LEASE_XID, "/etcdserverpb.Lease/LeaseGrant", grant, (size_t)(end - grant), 1);
    return write(fd, out, (size_t)(at - out)) == at - out;
}

static int greeted(int fd) { return await(fd, LEASE_XID) == 0; }

/* What we send stays far below the 64 KiB window of a connection, which etcd tops up, so windows need no counting. */
static size_t decode(const unsigned char *at, size_t length, Reply *reply, unsigned char *out, size_t *out_length) {
    if (length < FRAME_HEADER) return 0;
    size_t body = (size_t)at[0] << 16 | (size_t)at[1] << 8 | at[2], frame = body + FRAME_HEADER;
    if (frame > IN_BYTES) fail("bad frame length", (long)frame);
    if (length < frame) return 0;
    int type = at[3], flags = at[4], xid = (get_int(at + 5) + 1) / 2;
    const unsigned char *block = at + FRAME_HEADER;
    if (type == DATA_FRAME && body > 0) reply->xid = xid, reply->data = body;
    while (type == HEADERS && block < at + frame && (*block & 0xe0) == 0x20) block++; /* a new size of the header table */
    /* An error comes as one HEADERS frame, beginning with :status; the trailers behind a message do not. */
    if (type == HEADERS && flags & END_STREAM && *block == 0x88) reply->xid = xid, reply->err = -1;
    /* gRPC's server resets with NO_ERROR what it has answered before it has seen that no more is to come. */
    if (type == RST_STREAM && get_int(at + FRAME_HEADER) != 0) reply->xid = xid, reply->err = -1;
    if (type == GOAWAY) fail("etcd said GOAWAY", get_int(at + FRAME_HEADER + 4));
    if ((type == SETTINGS || type == PING) && !(flags & ACK)) {
        size_t echoed = type == PING ? body : 0;
        unsigned char *end = put_frame(out, echoed, type, ACK, 0);
        memcpy(end, at + FRAME_HEADER, echoed);
        *out_length += FRAME_HEADER + echoed;
    }
    return frame;
}

const Protocol etcd = {greet, greeted, encode, decode, .exists = 0, .needs_parents = 0, .watches_once = 0};
