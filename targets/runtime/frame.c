#include "frame.h"

#include "mct_model.h"
#include "cobs.h"
#include "crc32.h"
#include "link.h"
#include "little_endian.h"
#include "protocol.h"

enum {
    HEADER = 20,
    HEADER_ENCODED = 21,
    CRC = 4,
    BODY_OVERHEAD = MCT_COBS_OVERHEAD(MCT_MAXIMUM_BODY + CRC),
    BODY_ENCODED = MCT_MAXIMUM_BODY + CRC + BODY_OVERHEAD,
    PREFIX = 1 + HEADER_ENCODED + 1, /* zero, header, zero */
    SILENCE = 1000,                  /* milliseconds without a byte after which a body is given up */
};

/* ---- sending ---------------------------------------------------------------------------------------- */

/* A frame, and before that its body: a response is written where encoding in place may start. */
struct frame {
    uint32_t length;
    uint8_t bytes[PREFIX + BODY_ENCODED + 1];
};

static struct frame response;
uint8_t *const mct_response_body = response.bytes + PREFIX + BODY_OVERHEAD;

/* Build a frame in `frame` (room for PREFIX + encoded body + 1); `body` is followed by room for its CRC
 * and may be in the frame, as far behind PREFIX as encoding needs. Returns the frame's length. */
static uint32_t build(uint8_t *frame, uint8_t command, uint8_t status, uint32_t sequence, uint8_t *body,
                      uint32_t length) {
    mct_put32(body + length, mct_crc32(0, body, length));
    uint32_t encoded = mct_cobs_encode(frame + PREFIX, body, length + CRC);
    uint8_t header[HEADER] = {'M', MCT_PROTOCOL_VERSION, command, status};
    mct_put32(header + 4, sequence);
    mct_put32(header + 8, length);
    mct_put32(header + 12, encoded);
    mct_put32(header + 16, mct_crc32(0, header, 16));
    frame[0] = 0;
    mct_cobs_encode(frame + 1, header, HEADER);
    frame[PREFIX - 1] = 0;
    frame[PREFIX + encoded] = 0;
    return PREFIX + encoded + 1;
}

void mct_frame_respond(const struct mct_request *request, uint8_t status, uint32_t length) {
    response.length = build(response.bytes, request->command | MCT_RESPONSE, status, request->sequence,
                            mct_response_body, length);
}

void mct_frame_send_response(void) {
    mct_link_write(response.bytes, response.length);
}

void mct_frame_note(uint8_t command, uint32_t sequence, uint32_t first, uint32_t second) {
    uint8_t body[8 + CRC], frame[PREFIX + sizeof body + MCT_COBS_OVERHEAD(sizeof body) + 1];
    mct_put32(body, first);
    mct_put32(body + 4, second);
    mct_link_write(frame, build(frame, command, MCT_OK, sequence, body, 8));
}

/* ---- receiving -------------------------------------------------------------------------------------- */

/* Bytes that came after the last zero byte and may be the start of a header. */
static uint8_t head[HEADER_ENCODED + 1];
static uint32_t head_count;

static uint8_t body[BODY_ENCODED + 1];

/* Keep what follows the last zero of `count` raw bytes as the possible start of a header; what is longer
 * than a header is no header, and all of it is dropped. */
static void resume_after_zero(const uint8_t *bytes, uint32_t count) {
    uint32_t tail = 0;
    while (tail < count && bytes[count - 1 - tail] != 0)
        tail++;
    head_count = tail <= HEADER_ENCODED ? tail : 0;
    for (uint32_t i = 0; i < head_count; i++)
        head[i] = bytes[count - head_count + i];
}

/* Wait for a header. Reads only as many bytes as the shortest way to the end of a header has, counted from
 * the last zero byte, so that a whole frame is always answered without waiting for another. */
static bool receive_header(struct mct_request *request, uint32_t *encoded) {
    mct_link_read(head + head_count, sizeof head - head_count, MCT_FOREVER);
    uint32_t zero = 0;
    while (zero < sizeof head && head[zero] != 0)
        zero++;
    if (zero != HEADER_ENCODED) {
        uint8_t raw[sizeof head];
        memcpy(raw, head, sizeof head);
        resume_after_zero(raw, sizeof raw);
        return false;
    }
    head_count = 0;
    if (mct_cobs_decode(head, HEADER_ENCODED) != HEADER || head[0] != 'M')
        return false;
    if (mct_get32(head + 16) != mct_crc32(0, head, 16))
        return false;
    request->version = head[1];
    request->command = head[2];
    request->sequence = mct_get32(head + 4);
    request->length = mct_get32(head + 8);
    *encoded = mct_get32(head + 12);
    return request->length <= MCT_MAXIMUM_BODY && *encoded > CRC && *encoded <= BODY_ENCODED;
}

/* The rest of a frame. False when it came damaged; then any frame that has begun in it goes on. */
static bool receive_body(struct mct_request *request, uint32_t encoded) {
    if (!mct_link_read(body, encoded + 1, SILENCE))
        return false;
    for (uint32_t i = 0; i <= encoded; i++) {
        if ((body[i] == 0) != (i == encoded)) {
            resume_after_zero(body, encoded + 1);
            return false;
        }
    }
    uint32_t length = mct_cobs_decode(body, encoded);
    if (length != request->length + CRC ||
        mct_get32(body + request->length) != mct_crc32(0, body, request->length))
        return false;
    request->body = body;
    return true;
}

bool mct_frame_receive(struct mct_request *request) {
    uint32_t encoded;
    if (!receive_header(request, &encoded))
        return false;
    if (receive_body(request, encoded))
        return true;
    mct_frame_note(MCT_DAMAGED, request->sequence, 0, 0);
    return false;
}
