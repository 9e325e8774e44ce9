/* The flash of a simulated board as the host's file flash0, in the directory where the simulator runs:
 * MCT_FLASH_SEMIHOSTING bytes. */
#ifdef MCT_FLASH_SEMIHOSTING

#include "flash.h"
#include "semihosting.h"

enum { BLOCK = 4096 };

static long handle = -1;

static bool seek(uint32_t address) {
    const uintptr_t arguments[] = {(uintptr_t)handle, address};
    return mct_semihost(SYS_SEEK, arguments) == 0;
}

static bool write_all(const uint8_t *from, uint32_t count) {
    const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)from, count};
    return mct_semihost(SYS_WRITE, arguments) == 0;
}

struct mct_flash mct_flash_start(void) {
    static const char name[] = "flash0";
    const uintptr_t open[] = {(uintptr_t)name, READ_WRITE, sizeof name - 1};
    handle = mct_semihost(SYS_OPEN, open);
    if (handle < 0)
        return (struct mct_flash){0, 0};
    return (struct mct_flash){MCT_FLASH_SEMIHOSTING, BLOCK};
}

bool mct_flash_read(uint32_t address, uint8_t *to, uint32_t count) {
    if (!seek(address))
        return false;
    const uintptr_t arguments[] = {(uintptr_t)handle, (uintptr_t)to, count};
    return mct_semihost(SYS_READ, arguments) == 0;
}

bool mct_flash_erase(uint32_t address) {
    uint8_t ones[MCT_FLASH_PAGE];
    __builtin_memset(ones, 0xff, sizeof ones);
    bool good = seek(address);
    for (uint32_t at = 0; good && at < BLOCK; at += sizeof ones)
        good = write_all(ones, sizeof ones);
    return good;
}

/* As flash does it: bits are cleared, never set. */
bool mct_flash_program(uint32_t address, const uint8_t *from) {
    uint8_t page[MCT_FLASH_PAGE];
    if (!mct_flash_read(address, page, sizeof page))
        return false;
    for (uint32_t i = 0; i < sizeof page; i++)
        page[i] &= from[i];
    return seek(address) && write_all(page, sizeof page);
}

#else
typedef int mct_flash_semihosting_unused; /* a translation unit may not be empty */
#endif
