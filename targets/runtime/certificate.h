/* Certificates: a chain of records that the device itself makes about its memory.
 *
 * A record, all numbers little-endian:
 *     0 u8[4]  "MCTC"              28 u8[32] build id                  124 u8[32] SHA-256 of the text
 *     4 u32    version, 1          60 u8[32] digest of the memory before  156 u8[32] hash of the record
 * before 8 u8[16] device id           92 u8[32] digest of the memory now     188 u32    sequence number of
 * the store 24 u32    counter, from 1                                            192 u32    flags 196 u8[32]
 * HMAC-SHA-256 of bytes 0 to 195 with the device key; zeros when no key is set
 *
 * The hash of a record is the SHA-256 of all of it, zeros before the first. The device id is the first half
 * of the HMAC of "mcutrain device". */
#ifndef MCT_CERTIFICATE_H
#define MCT_CERTIFICATE_H

#include <stdint.h>

enum {
    MCT_CERTIFICATE_SIZE = 228,
    MCT_CERTIFICATE_PURGED = 1, /* nothing older than the newest slot was left in the flash */
    MCT_CERTIFICATE_SIGNED = 2,
};

/* In a transaction: make the record that follows the last one, and append it to entry "chain". `before` names
 * a digest, `text` any entry; `now` is the digest of the memory. Null, or what is wrong. */
const char *mct_certify(const char *before, const char *text, const uint8_t now[32],
                        uint8_t record[MCT_CERTIFICATE_SIZE]);

/* Set the device key, once; its device id. Null, or what is wrong. */
const char *mct_key_set(const uint8_t key[32], uint8_t device_id[16]);

#endif
