/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104). */
#ifndef MCT_SHA256_H
#define MCT_SHA256_H

#include <stdint.h>

enum { MCT_SHA256_SIZE = 32 };

struct mct_sha256 {
    uint32_t state[8];
    uint32_t count; /* bytes so far, less than 512 MiB */
    uint8_t block[64];
};

void mct_sha256_start(struct mct_sha256 *hash);
void mct_sha256_add(struct mct_sha256 *hash, const uint8_t *bytes, uint32_t count);
void mct_sha256_end(struct mct_sha256 *hash, uint8_t digest[MCT_SHA256_SIZE]);

/* HMAC of `count` bytes with a key of 32 bytes. */
void mct_hmac_sha256(const uint8_t key[32], const uint8_t *bytes, uint32_t count,
                     uint8_t digest[MCT_SHA256_SIZE]);

#endif
