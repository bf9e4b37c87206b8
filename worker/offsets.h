/* What may be committed: per partition the lowest offset that is not finished. Pure. An assignment gets a new epoch, so
 * that an end which belongs to an earlier one changes nothing. Offsets that were never delivered (compaction, control
 * records) count as finished. */
#ifndef KEYROLL_OFFSETS_H
#define KEYROLL_OFFSETS_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct offsets;
/* Names one delivered message. */
struct offset_ref {
    uint32_t partition;
    uint32_t epoch;
    int64_t offset;
};

MUST_CHECK int offsets_new(size_t max_span, struct offsets **ret_offsets);
void offsets_free(struct offsets *o);
/* Starts tracking; the same partition again begins a new epoch. Returns its index, or ERR_NOMEM. */
MUST_CHECK int offsets_assign(struct offsets *o, const char *topic, int32_t partition);
void offsets_revoke(struct offsets *o, const char *topic, int32_t partition);
/* Index of an assigned partition, or ERR_NOT_FOUND. */
int offsets_find(const struct offsets *o, const char *topic, int32_t partition);
/* A message was delivered. ERR_BUSY: the span between the head and it would be too long: pause the partition.
 * ERR_NOT_FOUND: not assigned. ERR_INVALID: it was taken before in this epoch (redelivered): drop it. An offset below
 * the head begins a new epoch: the topic was deleted and made again. */
MUST_CHECK int offsets_take(struct offsets *o, int index, int64_t offset, struct offset_ref *ret_ref);
/* It is finished: its outcome is durable (I7). */
void offsets_done(struct offsets *o, struct offset_ref ref);
/* What is open is to be delivered again, from the head on: begins a new epoch there, so that ends of what was taken so
 * far change nothing. Returns the offset to read from, or ERR_NOT_FOUND: ref is of an earlier epoch, nothing happens.
 */
int64_t offsets_rewind(struct offsets *o, struct offset_ref ref);
/* True when there is something new to commit: *ret_offset is the next offset to read. */
bool offsets_to_commit(const struct offsets *o, int index, int64_t *ret_offset);
/* The broker has it. epoch: in which it was to be committed; of an earlier one nothing counts. Never moves backwards.
 */
void offsets_committed(struct offsets *o, int index, uint32_t epoch, int64_t offset);
/* The lowest unfinished offset, or -1 when nothing is open; and how far the highest taken one is above it. */
int64_t offsets_head(const struct offsets *o, int index, int64_t *ret_span);
size_t offsets_count(const struct offsets *o);
/* Name of a tracked partition; false when that index is not assigned. */
bool offsets_name(const struct offsets *o, int index, const char **ret_topic, int32_t *ret_partition,
                  uint32_t *ret_epoch);

#endif
