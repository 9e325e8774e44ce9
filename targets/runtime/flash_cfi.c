/* Flash of two 16-bit chips side by side with the Intel command set, memory-mapped at MCT_FLASH_CFI. */
#ifdef MCT_FLASH_CFI

#include "flash.h"

/* Commands and status bits, the same for both chips. */
#define BOTH(value) ((uint32_t)(value) << 16 | (uint32_t)(value))
#define WORD(address) (*(volatile uint32_t *)(uintptr_t)(MCT_FLASH_CFI + (address)))
enum { READ_ARRAY = 0xff, CLEAR_STATUS = 0x50, ERASE = 0x20, CONFIRM = 0xd0, PROGRAM = 0x40 };
enum { QUERY = 0x98, QUERY_TEXT = 4 * 0x10, READY = 0x80, FAILED = 0x3a };
enum { QUERY_SIZE = 4 * 0x27, QUERY_BLOCK_LOW = 4 * 0x2f, QUERY_BLOCK_HIGH = 4 * 0x30 };

/* Wait until the chips are ready; false when one failed. The status is read in place of the contents. */
static bool wait(uint32_t address) {
    uint32_t status;
    do
        status = WORD(address);
    while ((status & BOTH(READY)) != BOTH(READY));
    return !(status & BOTH(FAILED));
}

/* Give the contents to readers again; returns `good`. */
static bool finish(uint32_t address, bool good) {
    if (!good)
        WORD(address) = BOTH(CLEAR_STATUS);
    WORD(address) = BOTH(READ_ARRAY);
    return good;
}

struct mct_flash mct_flash_start(void) {
    struct mct_flash flash = {0, 0};
    WORD(0x55 * 4) = BOTH(QUERY);
    if ((uint8_t)WORD(QUERY_TEXT) == 'Q' && (uint8_t)WORD(QUERY_TEXT + 4) == 'R') {
        /* sizes are those of one chip; blocks are counted in 256 bytes */
        uint32_t blocks = (uint32_t)(uint8_t)WORD(QUERY_BLOCK_HIGH) << 8 | (uint8_t)WORD(QUERY_BLOCK_LOW);
        flash.size = 2u << (uint8_t)WORD(QUERY_SIZE);
        flash.block = 2 * 256 * blocks;
    }
    WORD(0) = BOTH(READ_ARRAY);
    return flash;
}

bool mct_flash_read(uint32_t address, uint8_t *to, uint32_t count) {
    const volatile uint8_t *from = (const volatile uint8_t *)(uintptr_t)(MCT_FLASH_CFI + address);
    for (; count && (uintptr_t)from & 3; count--)
        *to++ = *from++;
    for (; count >= 4; count -= 4, from += 4, to += 4) {
        uint32_t word = *(const volatile uint32_t *)(const volatile void *)from;
        __builtin_memcpy(to, &word, 4);
    }
    while (count--)
        *to++ = *from++;
    return true;
}

bool mct_flash_erase(uint32_t address) {
    WORD(address) = BOTH(ERASE);
    WORD(address) = BOTH(CONFIRM);
    return finish(address, wait(address));
}

bool mct_flash_program(uint32_t address, const uint8_t *from) {
    bool good = true;
    for (uint32_t at = 0; good && at < MCT_FLASH_PAGE; at += 4) {
        uint32_t word;
        __builtin_memcpy(&word, from + at, 4);
        if (word == 0xffffffffu)
            continue;
        WORD(address + at) = BOTH(PROGRAM);
        WORD(address + at) = word;
        good = wait(address + at);
    }
    return finish(address, good);
}

#else
typedef int mct_flash_cfi_unused; /* a translation unit may not be empty */
#endif
