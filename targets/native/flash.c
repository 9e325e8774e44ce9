/* The flash of the native firmware: the file that the environment variable MCUTRAIN_FLASH names.
 *
 * MCUTRAIN_FLASH_FAILS=n cuts the power in the middle of the n-th erasure or page: half of it is done, and
 * the process ends with status 5. Tests use it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "flash.h"

enum { BLOCK = 4096, POWER_LOST = 5 };

static int file = -1;
static long operations, fails; /* so many done; the one that fails, 0 for none */

struct mct_flash mct_flash_start(void) {
    const char *path = getenv("MCUTRAIN_FLASH"), *number = getenv("MCUTRAIN_FLASH_FAILS");
    struct stat facts;
    fails = number ? atol(number) : 0;
    file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0 || fstat(file, &facts) || facts.st_size > 1 << 30)
        return (struct mct_flash){0, 0};
    return (struct mct_flash){(uint32_t)facts.st_size, BLOCK};
}

bool mct_flash_read(uint32_t address, uint8_t *to, uint32_t count) {
    return pread(file, to, count, (off_t)address) == (ssize_t)count;
}

static bool write_at(uint32_t address, const uint8_t *from, uint32_t count) {
    bool lost = ++operations == fails;
    if (lost)
        count /= 2;
    bool good = pwrite(file, from, count, (off_t)address) == (ssize_t)count;
    if (lost) {
        fputs("firmware: power lost\n", stderr);
        _exit(POWER_LOST);
    }
    return good;
}

bool mct_flash_erase(uint32_t address) {
    uint8_t ones[BLOCK];
    memset(ones, 0xff, sizeof ones);
    return write_at(address, ones, sizeof ones);
}

/* As flash does it: bits are cleared, never set. */
bool mct_flash_program(uint32_t address, const uint8_t *from) {
    uint8_t page[MCT_FLASH_PAGE];
    if (!mct_flash_read(address, page, sizeof page))
        return false;
    for (uint32_t i = 0; i < sizeof page; i++)
        page[i] &= from[i];
    return write_at(address, page, sizeof page);
}
