/* Frames on the link, see protocol.h: requests that come, responses and notes that go. */
#ifndef MCT_FRAME_H
#define MCT_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#ifndef MCT_MAXIMUM_BODY
#error "define MCT_MAXIMUM_BODY, the longest body of a frame in bytes"
#endif

struct mct_request {
    uint8_t version, command;
    uint32_t sequence;
    uint32_t length;
    const uint8_t *body;
};

/* Wait for what may be a request. False: it came damaged, which the host is told if its header was not. */
bool mct_frame_receive(struct mct_request *request);

/* Where the body of the response is written, MCT_MAXIMUM_BODY bytes. */
extern uint8_t *const mct_response_body;

/* Make the response of the first `length` bytes of its body, and send it, again and again if need be. */
void mct_frame_respond(const struct mct_request *request, uint8_t status, uint32_t length);
void mct_frame_send_response(void);

/* Send a frame with a body of two numbers, leaving the response alone. */
void mct_frame_note(uint8_t command, uint32_t sequence, uint32_t first, uint32_t second);

#endif
