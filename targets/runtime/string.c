/* The functions a compiler may call by itself, for boards without a C library. */
#ifdef MCT_FREESTANDING

#include <stddef.h>
#include <stdint.h>

/* Keeps the compiler from turning a loop below into a call of the function it is in. */
#define OPAQUE(pointer) __asm__ volatile("" : "+r"(pointer))

void *memcpy(void *restrict to, const void *restrict from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int value, size_t count);
int memcmp(const void *a, const void *b, size_t count);

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out ^ (uintptr_t)in) & 3) == 0) {
        for (; count && (uintptr_t)out & 3; count--)
            *out++ = *in++;
        for (; count >= 16; count -= 16, out += 16, in += 16) {
            const uint32_t *from_words = __builtin_assume_aligned(in, 4);
            uint32_t *to_words = __builtin_assume_aligned(out, 4);
            uint32_t a = from_words[0], b = from_words[1], c = from_words[2], d = from_words[3];
            to_words[0] = a;
            to_words[1] = b;
            to_words[2] = c;
            to_words[3] = d;
            OPAQUE(out);
        }
    }
    for (; count; count--) {
        *out++ = *in++;
        OPAQUE(out);
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if (out <= in || out >= in + count)
        return memcpy(to, from, count);
    while (count--) {
        out[count] = in[count];
        OPAQUE(out);
    }
    return to;
}

void *memset(void *to, int value, size_t count) {
    uint8_t *out = to;
    uint32_t word = (uint8_t)value * 0x01010101u;
    for (; count && (uintptr_t)out & 3; count--)
        *out++ = (uint8_t)value;
    for (; count >= 32; count -= 32, out += 32) {
        uint32_t *words = __builtin_assume_aligned(out, 4);
        words[0] = words[1] = words[2] = words[3] = word;
        words[4] = words[5] = words[6] = words[7] = word;
        OPAQUE(out);
    }
    for (; count >= 4; count -= 4, out += 4) {
        *(uint32_t *)__builtin_assume_aligned(out, 4) = word;
        OPAQUE(out);
    }
    for (; count; count--) {
        *out++ = (uint8_t)value;
        OPAQUE(out);
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t count) {
    const uint8_t *x = a, *y = b;
    for (; count; count--, x++, y++) {
        if (*x != *y)
            return *x < *y ? -1 : 1;
        OPAQUE(x);
    }
    return 0;
}

#else
typedef int mct_string_unused; /* a translation unit may not be empty */
#endif
