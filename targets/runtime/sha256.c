#include "sha256.h"

#include "simd/rotate.h"

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Eight rounds are written out: in these each of the eight variables gets all of the eight names, and none
 * moves to another register. Sixteen, with the schedule in a ring of as many words, are more code than the
 * 2 KiB that the instruction cache of PULP's controller holds, and took 1.8 times as long. */
static void take_block(uint32_t state[8], const uint8_t *bytes) {
    uint32_t w[64], s[8];
    for (int i = 0; i < 16; i++)
        w[i] = big_endian(bytes + 4 * i);
#pragma GCC unroll 4
    for (int i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (mct_rotate(a, 7) ^ mct_rotate(a, 18) ^ a >> 3) +
               (mct_rotate(b, 17) ^ mct_rotate(b, 19) ^ b >> 10);
    }
    for (int i = 0; i < 8; i++)
        s[i] = state[i];
    for (int first = 0; first < 64; first += 8) {
        const uint32_t *k = constants + first, *v = w + first;
#pragma GCC unroll 8
        for (uint32_t i = 0; i < 8; i++) {
            /* after i rounds variable j is in s[(j - i) % 8] */
            uint32_t a = s[(0 - i) % 8], b = s[(1 - i) % 8], c = s[(2 - i) % 8], e = s[(4 - i) % 8],
                     f = s[(5 - i) % 8], g = s[(6 - i) % 8];
            uint32_t sum = s[(7 - i) % 8] + k[i] + v[i] + (((f ^ g) & e) ^ g) +
                           (mct_rotate(e, 6) ^ mct_rotate(e, 11) ^ mct_rotate(e, 25));
            s[(3 - i) % 8] += sum;
            s[(7 - i) % 8] =
                sum + (mct_rotate(a, 2) ^ mct_rotate(a, 13) ^ mct_rotate(a, 22)) + (((a ^ b) & (b ^ c)) ^ b);
        }
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

void mct_sha256_start(struct mct_sha256 *hash) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    for (int i = 0; i < 8; i++)
        hash->state[i] = initial[i];
    hash->count = 0;
}

void mct_sha256_add(struct mct_sha256 *hash, const uint8_t *bytes, uint32_t count) {
    while (count) {
        uint32_t filled = hash->count % 64;
        if (filled == 0 && count >= 64) {
            take_block(hash->state, bytes);
            bytes += 64;
            count -= 64;
            hash->count += 64;
            continue;
        }
        hash->block[filled] = *bytes++;
        count--;
        if (++hash->count % 64 == 0)
            take_block(hash->state, hash->block);
    }
}

void mct_sha256_end(struct mct_sha256 *hash, uint8_t digest[MCT_SHA256_SIZE]) {
    uint32_t count = hash->count;
    uint8_t tail[72] = {0x80};
    uint32_t zeros = (119 - count % 64) % 64; /* up to the length's eight bytes */
    for (int i = 0; i < 4; i++)
        tail[zeros + 1 + 4 + (uint32_t)i] = (uint8_t)(count << 3 >> (24 - 8 * i));
    mct_sha256_add(hash, tail, zeros + 9);
    for (int i = 0; i < 32; i++)
        digest[i] = (uint8_t)(hash->state[i / 4] >> (24 - 8 * (i % 4)));
}

void mct_hmac_sha256(const uint8_t key[32], const uint8_t *bytes, uint32_t count,
                     uint8_t digest[MCT_SHA256_SIZE]) {
    struct mct_sha256 hash;
    uint8_t pad[64];
    for (int outer = 0; outer < 2; outer++) {
        for (int i = 0; i < 64; i++)
            pad[i] = (uint8_t)((i < 32 ? key[i] : 0) ^ (outer ? 0x5c : 0x36));
        mct_sha256_start(&hash);
        mct_sha256_add(&hash, pad, sizeof pad);
        mct_sha256_add(&hash, outer ? digest : bytes, outer ? MCT_SHA256_SIZE : count);
        mct_sha256_end(&hash, digest);
    }
}
