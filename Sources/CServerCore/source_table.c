// SPDX-License-Identifier: Apache-2.0

// A hash table of fixed size whose entries stay where they are, so that a connection can keep its
// entry's index.
//
//      bucket   [ entry entry entry entry entry entry entry entry ]   of 8 entries, with one lock
//                 ^ one of its source, or else one that is idle, or else none
//
// An entry that has no connections, and whose tokens are all there again, says nothing more than an
// empty one, and is given to another source. Counting takes the bucket's lock for some 50
// instructions; giving back is one atomic operation without it.

#include "source_table.h"

#include "clock.h"
#include "forks.h"
#include "rate.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    WAYS = 8, // entries of a bucket
    LEAST_SIZE = 64,
    DEFAULT_SIZE = 65536,
    LARGEST_SIZE = 1 << 24,
    DEFAULT_IPV6_PREFIX = 56,
    KEYS = 5,
};

static const uint64_t MIXER = 0x9e3779b97f4a7c15; // 2^64 divided by the golden ratio

typedef struct source_key {
    uint64_t high;
    uint64_t low;
} source_key;

typedef struct source_entry {
    source_key key;     // all 0 while it is empty, which is as good as a source's that is idle
    int64_t full_at;    // its tokens, see rate.h
    atomic_uint live;   // its connections
    atomic_uint locked; // the bucket, in the first of its entries
} source_entry;

struct csc_sources {
    atomic_uint references; // the program, the servers and the groups
    atomic_uint max_connections;
    atomic_uint simple_max;   // the same where there is no rate; otherwise 0
    _Atomic int64_t interval; // of the rule of the rate
    _Atomic int64_t depth;
    atomic_bool resets;
    // These never change.
    unsigned process; // csc__forks() when it was made
    uint32_t ipv4_mask;
    source_key ipv6_mask;
    uint64_t keys[KEYS];
    int shift; // of a hash of 64 bits, to a bucket
    uint32_t size;
    source_entry *entries;
};

/* ---------------------------------------------------------------------------------------------- */
// Life

static void fill_mask(void *mask, size_t size, unsigned prefix) {
    uint8_t *bytes = mask;
    for (size_t index = 0; index < size; index++) {
        unsigned bits = prefix > 8 * index ? prefix - 8 * (unsigned)index : 0;
        bytes[index] = (uint8_t)(bits >= 8 ? 0xff : 0xff00 >> bits);
    }
}

static bool fill_randomly(void *bytes, size_t size) {
    ssize_t got;
    do {
        got = getrandom(bytes, size, 0);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)size;
}

static uint32_t size_of(uint32_t wanted) {
    uint32_t size = LEAST_SIZE;
    wanted = wanted == 0 ? DEFAULT_SIZE : wanted;
    while (size < wanted && size < LARGEST_SIZE) {
        size *= 2;
    }
    return size;
}

// Of a number of buckets, which is a power of two.
static int shift_to(uint32_t buckets) {
    int shift = 64;
    for (; buckets > 1; buckets /= 2) {
        shift--;
    }
    return shift;
}

csc_sources *csc_sources_new(const csc_source_limits *limits) {
    csc_sources *sources = calloc(1, sizeof *sources);
    if (!sources) {
        return NULL;
    }
    sources->process = csc__forks();
    sources->size = size_of(limits->table_size);
    sources->shift = shift_to(sources->size / WAYS);
    // Of pages that the kernel makes when they are first used.
    sources->entries = calloc(sources->size, sizeof *sources->entries);
    if (!sources->entries || !fill_randomly(sources->keys, sizeof sources->keys)) {
        free(sources->entries);
        free(sources);
        return NULL;
    }
    unsigned ipv4 = limits->ipv4_prefix;
    unsigned ipv6 = limits->ipv6_prefix;
    fill_mask(&sources->ipv4_mask, sizeof sources->ipv4_mask, ipv4 > 0 ? ipv4 : 32);
    fill_mask(&sources->ipv6_mask, sizeof sources->ipv6_mask,
              ipv6 > 0 ? ipv6 : DEFAULT_IPV6_PREFIX);
    atomic_store(&sources->references, 1);
    csc_sources_set_limits(sources, limits);
    return sources;
}

csc_sources *csc__sources_retain(csc_sources *sources) {
    atomic_fetch_add(&sources->references, 1);
    return sources;
}

void csc_sources_free(csc_sources *sources) {
    if (sources && atomic_fetch_sub(&sources->references, 1) == 1) {
        free(sources->entries);
        free(sources);
    }
}

void csc_sources_set_limits(csc_sources *sources, const csc_source_limits *limits) {
    csc__rate_rule rule = csc__rate_rule_of(limits->accepts_per_second, limits->burst);
    uint32_t most = limits->max_connections;
    atomic_store(&sources->depth, rule.depth);
    atomic_store(&sources->interval, rule.interval);
    most = most > 0 ? most : UINT32_MAX;
    atomic_store(&sources->max_connections, most);
    atomic_store(&sources->simple_max, rule.interval > 0 || most == UINT32_MAX ? 0 : most);
    atomic_store(&sources->resets, limits->resets);
}

bool csc__sources_are_inherited(const csc_sources *sources) {
    return sources->process != csc__forks();
}

bool csc__sources_reset(const csc_sources *sources) {
    return atomic_load(&((csc_sources *)sources)->resets);
}

size_t csc_sources_in_use(const csc_sources *sources) {
    size_t count = 0;
    for (uint32_t index = 0; index < sources->size; index++) {
        count += atomic_load_explicit(&sources->entries[index].live, memory_order_relaxed) > 0;
    }
    return count;
}

/* ---------------------------------------------------------------------------------------------- */
// Counting

static inline source_key ipv4_key(const csc_sources *sources, const uint8_t *bytes) {
    uint32_t address;
    memcpy(&address, bytes, sizeof address);
    // In a network that IPv6 does not use.
    return (source_key){.high = UINT64_MAX, .low = address & sources->ipv4_mask};
}

// False where the address has no source.
static bool find_key(const csc_sources *sources, const csc_address *peer, source_key *key) {
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    if (peer->family == CSC_FAMILY_IPV4) {
        *key = ipv4_key(sources, peer->bytes);
    } else if (peer->family != CSC_FAMILY_IPV6) {
        return false;
    } else if (memcmp(peer->bytes, mapped, sizeof mapped) == 0) {
        *key = ipv4_key(sources, peer->bytes + sizeof mapped);
    } else {
        memcpy(key, peer->bytes, sizeof *key);
        key->high &= sources->ipv6_mask.high;
        key->low &= sources->ipv6_mask.low;
    }
    return true;
}

// Multiply and shift, with random factors: no client can choose addresses that share a bucket. Some
// factors leave neighbours close together, whose addresses differ in few bits: mixed once more, that
// difference reaches the bits that choose the bucket. The half of a key that is the same for
// all of IPv4 adds nothing.
static inline source_entry *bucket_of(csc_sources *sources, const source_key *key) {
    const uint64_t *keys = sources->keys;
    uint64_t hash = keys[0] + keys[1] * (uint32_t)key->low;
    if (key->high != UINT64_MAX) {
        hash += keys[2] * (key->low >> 32) + keys[3] * (uint32_t)key->high +
                keys[4] * (key->high >> 32);
    }
    hash = (hash ^ hash >> 32) * MIXER;
    return sources->entries + (hash >> sources->shift) * WAYS;
}

static inline bool is_for(const source_entry *it, const source_key *key) {
    return it->key.low == key->low && it->key.high == key->high;
}

static inline void lock(source_entry *bucket) {
    for (; atomic_exchange_explicit(&bucket->locked, 1, memory_order_acquire); sched_yield()) {
    }
}

static inline void unlock(source_entry *bucket) {
    atomic_store_explicit(&bucket->locked, 0, memory_order_release);
}

static inline uint32_t place_of(const csc_sources *sources, const source_entry *it) {
    return (uint32_t)(it - sources->entries) + 1;
}

// The source's entry, or one that is idle; NULL where there is neither. With the lock.
static inline source_entry *find_entry(source_entry *bucket, const source_key *key, int64_t now) {
    source_entry *idle = NULL;
    for (source_entry *it = bucket; it < bucket + WAYS; it++) {
        if (is_for(it, key)) {
            return it;
        }
        if (!idle && it->full_at <= now &&
            atomic_load_explicit(&it->live, memory_order_relaxed) == 0) {
            idle = it;
        }
    }
    if (idle) {
        idle->key = *key;
        idle->full_at = 0;
    }
    return idle;
}

static inline csc__source_answer count(source_entry *it, uint32_t most, const csc__rate_rule *rule,
                                       int64_t now, bool is_forced) {
    uint32_t live = atomic_load_explicit(&it->live, memory_order_relaxed);
    if (live >= most && !is_forced) {
        return CSC__SOURCE_FULL;
    }
    if (rule->interval > 0) {
        // By another rule more may have been missing than a bucket holds now.
        if (it->full_at > now + rule->depth) {
            it->full_at = now + rule->depth;
        }
        if (!csc__rate_take_alone(&it->full_at, rule, now) && !is_forced) {
            return CSC__SOURCE_FAST;
        }
    }
    atomic_fetch_add_explicit(&it->live, 1, memory_order_relaxed);
    return CSC__SOURCE_COUNTED;
}

csc__source_answer csc__sources_take(csc_sources *sources, const csc_address *peer, bool is_forced,
                                     uint32_t *place) {
    uint32_t most = atomic_load_explicit(&sources->max_connections, memory_order_relaxed);
    csc__rate_rule rule = {atomic_load_explicit(&sources->interval, memory_order_relaxed),
                           atomic_load_explicit(&sources->depth, memory_order_relaxed)};
    source_key key;
    if ((most == UINT32_MAX && rule.interval == 0) || !find_key(sources, peer, &key)) {
        return CSC__SOURCE_IGNORED;
    }
    int64_t now = rule.interval > 0 ? csc__monotonic_nanoseconds() : INT64_MAX;
    source_entry *bucket = bucket_of(sources, &key);
    lock(bucket);
    source_entry *it = find_entry(bucket, &key, now);
    csc__source_answer answer = it ? count(it, most, &rule, now, is_forced) : CSC__SOURCE_UNCOUNTED;
    unlock(bucket);
    if (answer == CSC__SOURCE_COUNTED) {
        *place = place_of(sources, it);
    }
    return answer;
}

bool csc__sources_count(csc_sources *sources, csc_connection *connection) {
    const csc_address *peer = &connection->peer;
    uint32_t most = atomic_load_explicit(&sources->simple_max, memory_order_relaxed);
    source_key key = ipv4_key(sources, peer->bytes);
    source_entry *bucket = bucket_of(sources, &key);
    uint32_t place = 0;
    // Without a call that waits, it needs no frame on the stack.
    if (peer->family != CSC_FAMILY_IPV4 ||
        atomic_exchange_explicit(&bucket->locked, 1, memory_order_acquire) != 0) {
        connection->source = 0;
        return false;
    }
    for (source_entry *it = bucket; it < bucket + WAYS; it++) {
        if (is_for(it, &key)) {
            if (atomic_load_explicit(&it->live, memory_order_relaxed) < most) {
                atomic_fetch_add_explicit(&it->live, 1, memory_order_relaxed);
                place = place_of(sources, it);
            }
            break;
        }
    }
    unlock(bucket);
    connection->source = place;
    return place > 0;
}

void csc__sources_give(csc_sources *sources, uint32_t place) {
    uint32_t index = place - 1; // the largest number without a place
    if (index >= sources->size) {
        return;
    }
    atomic_uint *live = &sources->entries[index].live;
    uint32_t count = atomic_load_explicit(live, memory_order_relaxed);
    uint32_t left;
    do {
        left =
            count > 0 ? count - 1 : 0; // given back twice, by mistake, it takes no more than that
    } while (!atomic_compare_exchange_weak(live, &count, left));
}
