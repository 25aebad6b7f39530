// SPDX-License-Identifier: MIT
/*
 * Stage: a body on its way to become an object: written to a file without a name, then given its
 * name. Threads: one for all stages of a drive.
 */
#pragma once
#include "lib/base/error.h"
#include "lib/base/id.h"

struct tuck_drive;
struct tuck_stage;

/** Begins a body that will be named `output`. On failure *ret_stage is untouched. */
TUCK_CHECKED int tuck_stage_begin(struct tuck_drive *drive, const struct tuck_output_id *output,
                                  struct tuck_stage **ret_stage, struct tuck_error *err);

/** Appends. After a failure the stage still holds what was written before it. */
TUCK_CHECKED int tuck_stage_write(struct tuck_stage *stage, const void *data, size_t len,
                                  struct tuck_error *err);

/** Copies what is staged to another drive and goes on there. On failure nothing has changed. */
TUCK_CHECKED int tuck_stage_move(struct tuck_stage **stage, struct tuck_drive *to,
                                 struct tuck_error *err);

/** Fills an empty stage with the content of a file, which may be in use by others: shares its blocks
 * where the file system can do that, else copies. 0; TUCK_OBJECT_DAMAGED if it is not what the stage
 * is to be named, and TUCK_OBJECT_ABSENT if it cannot be read: then the stage is of no more use; or
 * < 0 if it cannot be written, and then it is still empty. */
TUCK_CHECKED int tuck_stage_take_file(struct tuck_stage *stage, int fd, uint64_t size,
                                      bool *ret_is_shared, struct tuck_error *err);

/** A stage that holds what an object of this drive has, to be moved to another drive. */
TUCK_CHECKED int tuck_stage_reopen(struct tuck_drive *drive, const struct tuck_output_id *output,
                                   struct tuck_stage **ret_stage, struct tuck_error *err);

/** Gives the staged body its name; **takes** *stage on success only. The caller has checked that
 * the content is what the name says. Anything else that stands under the name is replaced; where
 * the object is there already it is left alone. *ret_is_new: there is one object more on the drive.
 *  */
TUCK_CHECKED int tuck_stage_commit(struct tuck_stage **stage, uint32_t *ret_tag, bool *ret_is_new,
                                   struct tuck_error *err);

/** Drops the body. Accepts NULL. */
void tuck_stage_free(struct tuck_stage *stage);
