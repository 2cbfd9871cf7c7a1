/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * abi/fdset.h: descriptors on their way into or out of a message.
 *
 * Owns: what a transfer does with a set.  Rule: begin takes the set for one thread (BUSY for
 * others, so that no descriptor is taken out of a set that is being sent), end gives it back.
 * A NULL set is legal and nothing.
 */
#ifndef QIO_ABI_FDSET_H
#define QIO_ABI_FDSET_H

#include <qio/channel.h>
#include <qio/qioh.h>

typedef struct AbiFdset AbiFdset;

int32_t abi_fdset_begin_receive(qioh_fdset *fds, AbiFdset **set, qioh_error *error);
/* Moves the descriptors into the set and frees the array. */
void abi_fdset_end_receive(qioh_fdset *fds, AbiFdset *set, int *received, size_t count);

/* Moves the descriptors of a set that nobody else uses into an array, for the caller to free. */
void abi_fdset_take_all(qioh_fdset *fds, int **out, size_t *count);

/* Gives the numbers of the descriptors that are in the set. */
int32_t abi_fdset_begin_send(qioh_fdset *fds, AbiFdset **set, int sent[QIO_CHANNEL_MAX_FDS],
                             size_t *count, qioh_error *error);
void abi_fdset_end_send(qioh_fdset *fds, AbiFdset *set);

#endif
