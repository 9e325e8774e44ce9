/* The store's part of the protocol: requests 0x20 to 0x2f. Names are MCT_STORE_NAME bytes, padded with zeros
 * of which there is at least one; a range is u32 region, offset, length.
 *
 *   STORE_STATUS   -                                      -> u32 size, block, sequence, entries, free blocks,
 *                                                            flags (enum mct_store_flag), most entries
 *   STORE_LIST     u32 first, staged                      -> entries from that one on (struct
 * mct_store_entry) STORE_READ     name; u32 offset, length               -> bytes; a key is refused
 *   STORE_BEGIN    -                                      -> -
 *   STORE_CREATE   name; u32 length; bytes                -> -   the first bytes of the entry
 *   STORE_APPEND   u32 offset; bytes                      -> -   the next ones; `offset` are there already
 *   STORE_KEEP     name; ranges                           -> -   an entry that is a copy of memory
 *   STORE_DIGEST   name; ranges                           -> SHA-256 of the memory, which is the entry
 *   STORE_LINK     name; other name                       -> -   a second name for the same bytes
 *   STORE_DELETE   name                                   -> -
 *   STORE_COMMIT   u32 purge                              -> u32 sequence
 *   STORE_RESTORE  name                                   -> -   the copy goes back into memory
 *   HASH           ranges                                 -> SHA-256 of the memory
 *   KEY_SET        key [32]                               -> device id [16]; once in a device's life
 *   CERTIFY        name of a digest; name of a text; ranges -> the certificate, see certificate.h
 *
 * CREATE to COMMIT and CERTIFY need a transaction; what they did is there for good with COMMIT, or not at
 * all. */
#ifndef MCT_STORE_REQUESTS_H
#define MCT_STORE_REQUESTS_H

#include <stdint.h>

enum {
    MCT_STORE_STATUS = 0x20,
    MCT_STORE_LIST,
    MCT_STORE_READ,
    MCT_STORE_BEGIN,
    MCT_STORE_CREATE,
    MCT_STORE_APPEND,
    MCT_STORE_KEEP,
    MCT_STORE_DIGEST,
    MCT_STORE_LINK,
    MCT_STORE_DELETE,
    MCT_STORE_COMMIT,
    MCT_STORE_RESTORE,
    MCT_STORE_MEMORY_HASH,
    MCT_STORE_KEY_SET,
    MCT_STORE_CERTIFY,
};

/* A request's body, and room for its response. */
struct mct_store_request {
    uint8_t command;
    const uint8_t *body;
    uint32_t length;
    uint8_t *response;
    uint32_t room, response_length;
};

/* Do a request; null, or a text that says why it was refused. */
const char *mct_store_request(struct mct_store_request *request);

#endif
