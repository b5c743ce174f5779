/* ZooKeeper's client protocol: length-prefixed frames of jute records. */
#include "loadgen.h"

enum { CREATE_OP = 1, DELETE_OP = 2, GET_OP = 4, SET_OP = 5, CHILDREN_OP = 8, SYNC_OP = 9, CLOSE_OP = -11 };
enum { EPHEMERAL_SEQUENTIAL = 3, REPLY_HEADER = 20 }; /* length, xid, zxid, err */

static unsigned char *put_bytes(unsigned char *at, const void *bytes, size_t length) {
    at = put_int(at, (int32_t)length);
    memcpy(at, bytes, length);
    return at + length;
}

static unsigned char *put_text(unsigned char *at, const char *text) { return put_bytes(at, text, strlen(text)); }

static unsigned char *put_data(unsigned char *at) {
    char data[DATA_BYTES];
    memset(data, 'x', sizeof data);
    return put_bytes(at, data, sizeof data);
}

static int greet(int fd, int timeout_ms) {
    unsigned char frame[49] = {0};
    put_int(put_int(frame, 45) + 12, timeout_ms); /* version and last zxid are 0, then the session timeout */
    put_int(frame + 28, 16);                      /* length of the all-zero password */
    return write(fd, frame, sizeof frame) == sizeof frame;
}

static int greeted(int fd) {
    unsigned char frame[FRAME_BYTES];
    if (!read_all(fd, frame, 4)) return 0;
    int32_t length = get_int(frame);
    return length > 8 && length < FRAME_BYTES && read_all(fd, frame, (size_t)length) && get_int(frame + 4) > 0;
}

static size_t encode(unsigned char *frame, int xid, Op op, const char *path) {
    static const int opcodes[] = {GET_OP, SET_OP, CREATE_OP, CREATE_OP, CHILDREN_OP, DELETE_OP, GET_OP, SYNC_OP, CLOSE_OP};
    unsigned char *at = put_int(put_int(frame + 4, xid), opcodes[op]);
    if (op != CLOSE) at = put_text(at, path);
    switch (op) {
    case GET: case CHILDREN: *at++ = 0; break;
    case WATCH: *at++ = 1; break;
    case SET: at = put_int(put_data(at), -1); break;
    case DELETE: at = put_int(at, -1); break;
    case CREATE: case LOCK: /* one ACL entry: all permissions for world:anyone */
        at = put_int(put_int(put_data(at), 1), 31);
        at = put_int(put_text(put_text(at, "world"), "anyone"), op == LOCK ? EPHEMERAL_SEQUENTIAL : 0);
        break;
    case SYNC: case CLOSE: break;
    }
    put_int(frame, (int32_t)(at - frame - 4));
    return (size_t)(at - frame);
}

static size_t decode(const unsigned char *at, size_t length, Reply *reply, unsigned char *out, size_t *out_length) {
    (void)out, (void)out_length;
    if (length < 4) return 0;
    size_t frame = (size_t)get_int(at) + 4;
    if (frame < REPLY_HEADER || frame > IN_BYTES) fail("bad frame length", (long)frame);
    if (length < frame) return 0;
    reply->xid = get_int(at + 4), reply->err = get_int(at + 16), reply->data = frame - REPLY_HEADER;
    if (reply->data > 4) { /* meant for LOCK, whose body is the path */
        reply->path = (const char *)at + REPLY_HEADER + 4;
        reply->path_length = (size_t)get_int(at + REPLY_HEADER);
    }
    return frame;
}

const Protocol zookeeper = {greet, greeted, encode, decode,
                            .exists = -110, .needs_parents = 1, .watches_once = 1};
