/* SHA-256 and HMAC of standard input: a mode (s or h), for h a key of 32 bytes, then the bytes; in pieces
 * whose lengths are in the argument, again and again. */
#include <stdio.h>
#include <stdlib.h>

#include "sha256.h"

static uint8_t bytes[1 << 20];

int main(int count, char **arguments) {
    uint8_t digest[MCT_SHA256_SIZE];
    int mode = getchar();
    uint32_t length = (uint32_t)fread(bytes, 1, sizeof bytes, stdin);
    if (mode == 'h') {
        mct_hmac_sha256(bytes, bytes + 32, length - 32, digest);
    } else {
        struct mct_sha256 hash;
        mct_sha256_start(&hash);
        for (uint32_t at = 0, i = 0; at < length; i++) {
            uint32_t piece = (uint32_t)atoi(arguments[1 + i % (uint32_t)(count - 1)]);
            piece = piece < length - at ? piece : length - at;
            mct_sha256_add(&hash, bytes + at, piece);
            at += piece;
        }
        mct_sha256_end(&hash, digest);
    }
    fwrite(digest, 1, sizeof digest, stdout);
    return 0;
}
