/* Copies of memory in the store. */
#include "protocol.h"
#include "store.h"

/* Range `index` of a STATE entry, in `range`; null when it is inside the memory and the entry. */
static const char *state_range(const struct mct_store_entry *entry, uint32_t index, uint32_t range[3]) {
    const char *error = mct_store_read(entry, 4 + 12 * index, (uint8_t *)range, 12);
    if (!error && !mct_memory(range[0], range[1], range[2]))
        error = "the entry is of another memory";
    return error;
}

const char *mct_store_restore(const struct mct_store_entry *entry) {
    uint32_t count, range[3];
    if (entry->kind != MCT_STORE_STATE)
        return "the entry is no copy of memory";
    const char *error = mct_store_read(entry, 0, (uint8_t *)&count, 4);
    if (error)
        return error;
    if (count > entry->length / 12)
        return "the entry is of another memory";
    uint32_t at = 4 + 12 * count;
    for (uint32_t i = 0; i < count; i++, at += range[2]) {
        error = state_range(entry, i, range);
        if (error)
            return error;
        if (at > entry->length || range[2] > entry->length - at)
            return "the entry is of another memory";
    }
    if (!mct_store_is_whole(entry))
        return "the entry is damaged";
    at = 4 + 12 * count;
    for (uint32_t i = 0; i < count && !error; i++, at += range[2]) {
        error = state_range(entry, i, range);
        if (!error)
            error = mct_store_read(entry, at, mct_memory(range[0], range[1], range[2]), range[2]);
    }
    return error;
}
