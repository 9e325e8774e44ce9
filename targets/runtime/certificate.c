#include "certificate.h"

#include <stdbool.h>

#include "mct_model.h"
#include "little_endian.h"
#include "sha256.h"
#include "store.h"

enum { VERSION = 1, SIGNATURE = MCT_CERTIFICATE_SIZE - MCT_SHA256_SIZE, PIECE = 256 };

static const char KEY_NAME[] = "key", CHAIN_NAME[] = "chain";

static void identify(const uint8_t key[32], uint8_t device_id[16]) {
    static const uint8_t text[] = "mcutrain device";
    uint8_t digest[MCT_SHA256_SIZE];
    mct_hmac_sha256(key, text, sizeof text - 1, digest);
    memcpy(device_id, digest, 16);
}

/* The device key; false when none is set. */
static bool get_key(uint8_t key[32]) {
    const struct mct_store_entry *entry = mct_store_find_kind(MCT_STORE_KEY, false);
    return entry && entry->length == 32 && !mct_store_read(entry, 0, key, 32);
}

static void forget(uint8_t key[32]) {
    for (volatile uint8_t *at = key; at < key + 32; at++)
        *at = 0;
}

const char *mct_key_set(const uint8_t key[32], uint8_t device_id[16]) {
    if (mct_store_find_kind(MCT_STORE_KEY, false))
        return "the device key is set already";
    const char *error = mct_store_begin();
    if (!error)
        error = mct_store_create(KEY_NAME, MCT_STORE_KEY, 32);
    if (!error)
        error = mct_store_append(key, 32);
    if (!error)
        error = mct_store_commit(false);
    if (!error)
        identify(key, device_id);
    return error;
}

static const char *hash_entry(const struct mct_store_entry *entry, uint8_t digest[32]) {
    struct mct_sha256 hash;
    uint8_t piece[PIECE];
    mct_sha256_start(&hash);
    for (uint32_t at = 0; at < entry->length; at += PIECE) {
        uint32_t count = entry->length - at < PIECE ? entry->length - at : PIECE;
        const char *error = mct_store_read(entry, at, piece, count);
        if (error)
            return error;
        mct_sha256_add(&hash, piece, count);
    }
    mct_sha256_end(&hash, digest);
    return 0;
}

/* Write the chain anew with a record at its end. */
static const char *append_to_chain(const struct mct_store_entry *chain,
                                   const uint8_t record[MCT_CERTIFICATE_SIZE]) {
    struct mct_store_entry old = chain ? *chain : (struct mct_store_entry){.length = 0};
    uint8_t piece[PIECE];
    const char *error = mct_store_create(CHAIN_NAME, MCT_STORE_CHAIN, old.length + MCT_CERTIFICATE_SIZE);
    for (uint32_t at = 0; at < old.length && !error; at += PIECE) {
        uint32_t count = old.length - at < PIECE ? old.length - at : PIECE;
        error = mct_store_read(&old, at, piece, count);
        if (!error)
            error = mct_store_append(piece, count);
    }
    return error ? error : mct_store_append(record, MCT_CERTIFICATE_SIZE);
}

const char *mct_certify(const char *before, const char *text, const uint8_t now[32],
                        uint8_t record[MCT_CERTIFICATE_SIZE]) {
    static const uint8_t magic[4] = {'M', 'C', 'T', 'C'};
    const struct mct_store_entry *digest = mct_store_find(before, true), *told = mct_store_find(text, true),
                                 *chain = mct_store_find_kind(MCT_STORE_CHAIN, true);
    uint8_t key[32];
    for (uint32_t i = 0; i < MCT_CERTIFICATE_SIZE; i++)
        record[i] = 0;
    if (!digest || digest->kind != MCT_STORE_HASH || digest->length != 32)
        return "there is no such digest";
    if (!told || told->kind != MCT_STORE_BYTES)
        return "there is no such text";
    struct mct_store_facts facts = mct_store_facts();
    memcpy(record, magic, 4);
    mct_put32(record + 4, VERSION);
    mct_put32(record + 24, chain ? chain->length / MCT_CERTIFICATE_SIZE + 1 : 1);
    memcpy(record + 28, mct_build_id, 32);
    const char *error = mct_store_read(digest, 0, record + 60, 32);
    memcpy(record + 92, now, 32);
    if (!error)
        error = hash_entry(told, record + 124);
    if (!error && chain) {
        uint8_t last[MCT_CERTIFICATE_SIZE];
        struct mct_sha256 hash;
        error = mct_store_read(chain, chain->length - MCT_CERTIFICATE_SIZE, last, sizeof last);
        mct_sha256_start(&hash);
        mct_sha256_add(&hash, last, sizeof last);
        mct_sha256_end(&hash, record + 156);
    }
    if (error)
        return error;
    mct_put32(record + 188, facts.sequence);
    mct_put32(record + 192, facts.flags & MCT_STORE_PURGED ? MCT_CERTIFICATE_PURGED : 0u);
    if (get_key(key)) {
        identify(key, record + 8);
        record[192] |= MCT_CERTIFICATE_SIGNED;
        mct_hmac_sha256(key, record, SIGNATURE, record + SIGNATURE);
        forget(key);
    }
    return append_to_chain(chain, record);
}
