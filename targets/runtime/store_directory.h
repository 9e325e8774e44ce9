/* The directory of the store as it is in a slot, see store.h. */
#ifndef MCT_STORE_DIRECTORY_H
#define MCT_STORE_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "store.h"

enum { MCT_DIRECTORY_PURGE = 1 }; /* flag: nothing older may be left */

struct mct_directory {
    struct mct_directory_header {
        uint32_t magic, version, sequence, entries, flags, crc;
        uint8_t build_id[32];
    } header;
    struct mct_store_entry entries[MCT_STORE_ENTRIES];
};

/* Bytes of a slot. */
uint32_t mct_directory_bytes(void);

/* Read what is in the slot at `base`; false: no directory, or a damaged one. */
bool mct_directory_read(struct mct_directory *to, uint32_t base);

/* Complete the header, and write all to an erased slot, the header last. */
bool mct_directory_write(struct mct_directory *from, uint32_t base);

/* Whether it was noted that nothing older is left; note it. */
bool mct_directory_is_purged(uint32_t base);
bool mct_directory_note_purged(uint32_t base);

#endif
