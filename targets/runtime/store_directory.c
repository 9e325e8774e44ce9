#include "store_directory.h"

#include "crc32.h"
#include "flash.h"
#include "mct_model.h"
#include "store_pages.h"

enum {
    MAGIC = 0x5343544d, /* "MTCS" */
    VERSION = 1,
    PAGE = MCT_FLASH_PAGE,
    PURGED_AT = 128, /* in the header's page: these bytes are cleared when nothing older is left */
    PURGED_BYTES = 4,
};

static uint32_t crc_of(const struct mct_directory *directory) {
    struct mct_directory_header header = directory->header;
    header.crc = 0;
    uint32_t crc = mct_crc32(0, (const uint8_t *)&header, sizeof header);
    return mct_crc32(crc, (const uint8_t *)directory->entries,
                     directory->header.entries * (uint32_t)sizeof *directory->entries);
}

uint32_t mct_directory_bytes(void) {
    return PAGE + (uint32_t)sizeof((struct mct_directory *)0)->entries;
}

bool mct_directory_read(struct mct_directory *to, uint32_t base) {
    struct mct_directory_header *header = &to->header;
    if (!mct_flash_read(base, (uint8_t *)header, sizeof *header) || header->magic != MAGIC ||
        header->version != VERSION || header->entries > MCT_STORE_ENTRIES || !header->sequence)
        return false;
    return mct_flash_read(base + PAGE, (uint8_t *)to->entries,
                          header->entries * (uint32_t)sizeof *to->entries) &&
           crc_of(to) == header->crc;
}

bool mct_directory_write(struct mct_directory *from, uint32_t base) {
    uint8_t page[PAGE];
    const uint8_t *bytes = (const uint8_t *)from->entries;
    const uint32_t length = from->header.entries * (uint32_t)sizeof *from->entries;
    from->header.magic = MAGIC;
    from->header.version = VERSION;
    memcpy(from->header.build_id, mct_build_id, sizeof from->header.build_id);
    from->header.crc = crc_of(from);
    for (uint32_t at = 0; at < length; at += PAGE) {
        for (uint32_t i = 0; i < PAGE; i++)
            page[i] = at + i < length ? bytes[at + i] : 0xff;
        if (!mct_pages_program(base + PAGE + at, page))
            return false;
    }
    for (uint32_t i = 0; i < PAGE; i++)
        page[i] = i < sizeof from->header ? ((const uint8_t *)&from->header)[i] : 0xff;
    return mct_pages_program(base, page);
}

bool mct_directory_is_purged(uint32_t base) {
    uint8_t mark[PURGED_BYTES];
    bool purged = mct_flash_read(base + PURGED_AT, mark, sizeof mark);
    for (uint32_t i = 0; i < PURGED_BYTES; i++)
        purged = purged && !mark[i];
    return purged;
}

bool mct_directory_note_purged(uint32_t base) {
    uint8_t page[PAGE];
    if (!mct_flash_read(base, page, PAGE))
        return false;
    for (uint32_t i = 0; i < PURGED_BYTES; i++)
        page[PURGED_AT + i] = 0;
    return mct_pages_program(base, page);
}
