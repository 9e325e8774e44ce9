/* The protocol between host and firmware; mcutrain/device/framing.py and session.py are the other side.
 *
 * A frame is   00 | COBS(header) | 00 | COBS(body, CRC-32 of body) | 00
 * with all numbers little-endian. The header is always 20 bytes, 21 when encoded:
 *
 *      0 u8  'M'             4 u32 sequence number        12 u32 encoded length of body and CRC
 *      1 u8  version         8 u32 length of the body     16 u32 CRC-32 of bytes 0..15
 *      2 u8  command
 *      3 u8  status: 0 in requests and good responses, else an error code; the body is then its text
 *
 * so a reader always knows how many bytes may come next, which a link that blocks until all have come
 * (semihosting) needs. The header is the same in every version of the protocol.
 *
 * A response has the command of its request plus 0x80, and its sequence number. A request with the
 * sequence number of the one before is not run again: the response is sent again. While a Program runs,
 * the device sends MCT_BUSY frames (kernel calls done, kernel calls in all) about four times a second.
 *
 *   MCT_HELLO         u32 workers wanted, 0 for all  -> u32 version, maximum body, workers in use, Programs,
 *                                                       data size, arena size; build id [32]
 *   MCT_READ          reads                          -> bytes of all reads
 *   MCT_WRITE         u32 number of writes; writes   -> -
 *   MCT_RUN           u32 Program, first, last, number of writes; writes; reads
 *                                                    -> bytes of all reads
 *   MCT_BYE           -                              -> -   and the board ends, if it can
 *   MCT_RESUME        -                              -> -   unless the device was reset since HELLO
 *   MCT_PROFILE       u32 mode of counting, see profile.h; clears the log
 *                                                    -> words about the log, see profile.h
 *   MCT_READ_PROFILE  u32 first record, number       -> u32 records in the log, records lost; records
 *   MCT_WORK          -                              -> words about what requests have taken, see work.h
 *
 * where a read is u32 region, offset, length and a write the same followed by its bytes. Region 0 is
 * mct_data, 1 is mct_arena. RUN runs kernel calls [first, last). Before its first HELLO a device refuses all
 * else, so that a host notices that a board was reset and its trained state is gone. Requests 0x20 to 0x2f
 * are the store's, see store_requests.h. */
#ifndef MCT_PROTOCOL_H
#define MCT_PROTOCOL_H

#include <stdint.h>

#define MCT_PROTOCOL_VERSION 1

enum mct_command {
    MCT_HELLO = 1,
    MCT_READ = 2,
    MCT_WRITE = 3,
    MCT_RUN = 4,
    MCT_BYE = 5,
    MCT_RESUME = 6,
    MCT_PROFILE = 0x18,
    MCT_READ_PROFILE = 0x19,
    MCT_WORK = 0x1a,
    MCT_BUSY = 0x7e,    /* from the device: still running */
    MCT_DAMAGED = 0x7f, /* from the device: a frame came damaged, send it again */
    MCT_RESPONSE = 0x80,
};

enum mct_status {
    MCT_OK = 0,
    MCT_BAD_VERSION = 1,
    MCT_BAD_COMMAND = 2,
    MCT_BAD_BODY = 3,
    MCT_BAD_RANGE = 4,
    MCT_BAD_PROGRAM = 5,
    MCT_TOO_LONG = 6,
    MCT_NOT_GREETED = 7,
    MCT_UNFIT = 8, /* the cores lack instructions the kernels use */
    MCT_STORE_REFUSED = 9,
};

/* The memory from `offset` in a region, or null when not all of it is inside. */
uint8_t *mct_memory(uint32_t region, uint32_t offset, uint32_t length);

/* During a long request: tell the host now and then that it goes on. */
void mct_note_progress(uint32_t done, uint32_t total);

/* Serve the link for ever. */
_Noreturn void mct_serve(void);

#endif
