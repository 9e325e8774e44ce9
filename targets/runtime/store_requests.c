#include "store_requests.h"

#include <stdbool.h>

#include "certificate.h"
#include "little_endian.h"
#include "protocol.h"
#include "sha256.h"
#include "store.h"

enum { NAME = MCT_STORE_NAME, RANGE = 12 };

static const char CUT_OFF[] = "the request is cut off", OUTSIDE[] = "a range is outside its region";

static void reply(struct mct_store_request *request, const void *bytes, uint32_t count) {
    const uint8_t *from = bytes;
    for (uint32_t i = 0; i < count; i++)
        request->response[request->response_length++] = from[i];
}

/* Take the next `count` bytes of the request's body; null when there are not so many. */
static const uint8_t *take(struct mct_store_request *request, uint32_t count) {
    if (request->length < count)
        return 0;
    const uint8_t *bytes = request->body;
    request->body += count;
    request->length -= count;
    return bytes;
}

/* Take a name: some bytes that are not zero, then zeros only. */
static const char *take_name(struct mct_store_request *request) {
    const uint8_t *name = take(request, NAME);
    if (!name || !name[0] || name[NAME - 1])
        return 0;
    for (uint32_t i = 1; i < NAME; i++)
        if (name[i] && !name[i - 1])
            return 0;
    return (const char *)name;
}

/* The rest of the body is ranges: check them, and add up their lengths. */
static const char *check_ranges(const struct mct_store_request *request, uint32_t *total) {
    *total = 0;
    if (!request->length || request->length % RANGE)
        return CUT_OFF;
    for (uint32_t at = 0; at < request->length; at += RANGE) {
        const uint8_t *range = request->body + at;
        if (!mct_memory(mct_get32(range), mct_get32(range + 4), mct_get32(range + 8)))
            return OUTSIDE;
        if (mct_get32(range + 8) > 0x1fffffffu - *total)
            return "the ranges are longer than any memory";
        *total += mct_get32(range + 8);
    }
    return 0;
}

/* The ranges at the end of the body, one after another, to `use`. */
static const char *for_ranges(const struct mct_store_request *request,
                              const char *(*use)(void *, const uint8_t *, uint32_t), void *context) {
    const char *error = 0;
    for (uint32_t at = 0; at < request->length && !error; at += RANGE) {
        const uint8_t *range = request->body + at;
        error = use(context, mct_memory(mct_get32(range), mct_get32(range + 4), mct_get32(range + 8)),
                    mct_get32(range + 8));
    }
    return error;
}

static const char *use_hash(void *context, const uint8_t *bytes, uint32_t count) {
    enum { PIECE = 1 << 16 };
    for (uint32_t at = 0; at < count; at += PIECE) {
        mct_sha256_add(context, bytes + at, count - at < PIECE ? count - at : PIECE);
        mct_note_progress(at, count);
    }
    return 0;
}

static const char *use_append(void *context, const uint8_t *bytes, uint32_t count) {
    (void)context;
    return mct_store_append(bytes, count);
}

static const char *hash_ranges(const struct mct_store_request *request, uint8_t digest[MCT_SHA256_SIZE]) {
    struct mct_sha256 hash;
    uint32_t total;
    const char *error = check_ranges(request, &total);
    if (error)
        return error;
    mct_sha256_start(&hash);
    for_ranges(request, use_hash, &hash);
    mct_sha256_end(&hash, digest);
    return 0;
}

static const char *status(struct mct_store_request *request) {
    struct mct_store_facts facts = mct_store_facts();
    const uint32_t most = MCT_STORE_ENTRIES;
    reply(request, &facts, sizeof facts);
    reply(request, &most, 4);
    return 0;
}

static const char *list(struct mct_store_request *request) {
    const uint8_t *numbers = take(request, 8);
    const struct mct_store_entry *entry;
    if (!numbers)
        return CUT_OFF;
    for (uint32_t i = mct_get32(numbers); (entry = mct_store_entry(i, mct_get32(numbers + 4))); i++) {
        if (request->room - request->response_length < sizeof *entry)
            break;
        reply(request, entry, sizeof *entry);
    }
    return 0;
}

static const char *read_entry(struct mct_store_request *request) {
    const char *name = take_name(request);
    const uint8_t *numbers = take(request, 8);
    if (!name || !numbers)
        return CUT_OFF;
    const struct mct_store_entry *entry = mct_store_find(name, false);
    if (!entry)
        return "there is no such entry";
    if (entry->kind == MCT_STORE_KEY)
        return "a key is never read";
    if (mct_get32(numbers + 4) > request->room)
        return "the bytes are longer than a frame's body";
    request->response_length = mct_get32(numbers + 4);
    return mct_store_read(entry, mct_get32(numbers), request->response, mct_get32(numbers + 4));
}

static const char *create(struct mct_store_request *request) {
    const char *name = take_name(request);
    const uint8_t *number = take(request, 4);
    if (!name || !number)
        return CUT_OFF;
    if (request->length > mct_get32(number))
        return "the entry is shorter";
    const char *error = mct_store_create(name, MCT_STORE_BYTES, mct_get32(number));
    return error ? error : mct_store_append(request->body, request->length);
}

static const char *append(struct mct_store_request *request) {
    const uint8_t *number = take(request, 4);
    if (!number)
        return CUT_OFF;
    if (mct_get32(number) != mct_store_done())
        return "the bytes do not follow those before";
    return mct_store_append(request->body, request->length);
}

static const char *keep(struct mct_store_request *request) {
    const char *name = take_name(request);
    uint32_t total, count = request->length / RANGE;
    if (!name)
        return CUT_OFF;
    const char *error = check_ranges(request, &total);
    if (!error)
        error = mct_store_create(name, MCT_STORE_STATE, 4 + request->length + total);
    if (!error)
        error = mct_store_append((const uint8_t *)&count, 4);
    if (!error)
        error = mct_store_append(request->body, request->length);
    return error ? error : for_ranges(request, use_append, 0);
}

static const char *digest(struct mct_store_request *request) {
    const char *name = take_name(request);
    uint8_t hash[MCT_SHA256_SIZE];
    if (!name)
        return CUT_OFF;
    const char *error = hash_ranges(request, hash);
    if (!error)
        error = mct_store_create(name, MCT_STORE_HASH, sizeof hash);
    if (!error)
        error = mct_store_append(hash, sizeof hash);
    if (!error)
        reply(request, hash, sizeof hash);
    return error;
}

static const char *commit(struct mct_store_request *request) {
    const uint8_t *number = take(request, 4);
    if (!number)
        return CUT_OFF;
    const char *error = mct_store_commit(mct_get32(number));
    struct mct_store_facts facts = mct_store_facts();
    if (!error)
        reply(request, &facts.sequence, 4);
    return error;
}

static const char *restore(const char *name) {
    const struct mct_store_entry *entry = name ? mct_store_find(name, false) : 0;
    if (!entry)
        return name ? "there is no such entry" : CUT_OFF;
    return mct_store_restore(entry);
}

static const char *set_key(struct mct_store_request *request) {
    const uint8_t *key = take(request, 32);
    uint8_t device_id[16];
    const char *error = key && !request->length ? mct_key_set(key, device_id) : CUT_OFF;
    if (!error)
        reply(request, device_id, sizeof device_id);
    return error;
}

static const char *certify(struct mct_store_request *request) {
    const char *before = take_name(request), *text = take_name(request);
    uint8_t now[MCT_SHA256_SIZE], record[MCT_CERTIFICATE_SIZE];
    if (!before || !text)
        return CUT_OFF;
    const char *error = hash_ranges(request, now);
    if (!error)
        error = mct_certify(before, text, now, record);
    if (!error)
        reply(request, record, sizeof record);
    return error;
}

static const char *link_entry(struct mct_store_request *request) {
    const char *name = take_name(request), *other = take_name(request);
    return name && other ? mct_store_link(name, other) : CUT_OFF;
}

static const char *delete_entry(struct mct_store_request *request) {
    const char *name = take_name(request);
    return name ? mct_store_delete(name) : CUT_OFF;
}

const char *mct_store_request(struct mct_store_request *request) {
    request->response_length = 0;
    switch (request->command) {
    case MCT_STORE_STATUS:
        return status(request);
    case MCT_STORE_LIST:
        return list(request);
    case MCT_STORE_READ:
        return read_entry(request);
    case MCT_STORE_BEGIN:
        return mct_store_begin();
    case MCT_STORE_CREATE:
        return create(request);
    case MCT_STORE_APPEND:
        return append(request);
    case MCT_STORE_KEEP:
        return keep(request);
    case MCT_STORE_DIGEST:
        return digest(request);
    case MCT_STORE_LINK:
        return link_entry(request);
    case MCT_STORE_DELETE:
        return delete_entry(request);
    case MCT_STORE_COMMIT:
        return commit(request);
    case MCT_STORE_RESTORE:
        return restore(take_name(request));
    case MCT_STORE_MEMORY_HASH: {
        const char *error = hash_ranges(request, request->response);
        request->response_length = error ? 0 : MCT_SHA256_SIZE;
        return error;
    }
    case MCT_STORE_KEY_SET:
        return set_key(request);
    case MCT_STORE_CERTIFY:
        return certify(request);
    default:
        return "there is no such command";
    }
}
