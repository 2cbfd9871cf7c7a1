/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * pyidentity.c: one Python object for each handle.
 *
 * Owns: the map from a handle to the object that stands for it, so that a callback sees the very
 * object (and subclass) that the program knows.  References are borrowed; an object leaves the
 * map before it is freed.  A hash table of our own because a dict would need allocations, and
 * could fail, in a deallocator.  Linear probing; removing shifts back, so no tombstones.
 * GIL held everywhere.
 */
#include "qiopy.h"

typedef struct Entry {
    uintptr_t token;            /* 0 = free */
    PyObject *object;
} Entry;

static Entry *entries;
static size_t capacity;         /* a power of two, or 0 */
static size_t used;

/* Tokens differ in slot and generation, so the bits are mixed first. */
static size_t home_of(uintptr_t token)
{
    return (size_t)((uint64_t)token * 0x9e3779b97f4a7c15u >> 32) & (capacity - 1);
}

/* Where the token is, or where it would go. */
static size_t find(uintptr_t token)
{
    size_t i = home_of(token);

    while (entries[i].token && entries[i].token != token) {
        i = (i + 1) & (capacity - 1);
    }
    return i;
}

static int grow(void)
{
    Entry *old = entries;
    size_t old_capacity = capacity;
    Entry *larger = PyMem_Calloc(old_capacity ? old_capacity * 2 : 64, sizeof *larger);

    if (!larger) {
        PyErr_NoMemory();
        return -1;
    }
    entries = larger;
    capacity = old_capacity ? old_capacity * 2 : 64;
    for (size_t i = 0; i < old_capacity; i++) {
        if (old[i].token) {
            entries[find(old[i].token)] = old[i];
        }
    }
    PyMem_Free(old);
    return 0;
}

/* An object whose last reference is gone is on its way out: nobody may get it any more. */
PyObject *qiopy_identity_get(uintptr_t token)
{
    Entry *entry;

    if (!capacity) {
        return NULL;
    }
    entry = &entries[find(token)];
    return entry->token && Py_REFCNT(entry->object) > 0 ? entry->object : NULL;
}

int qiopy_identity_put(uintptr_t token, PyObject *object)
{
    Entry *entry;

    if ((used + 1) * 2 > capacity && grow() < 0) {
        return -1;
    }
    entry = &entries[find(token)];
    used += entry->token == 0;
    *entry = (Entry){token, object};
    return 0;
}

void qiopy_identity_remove(uintptr_t token, PyObject *object)
{
    size_t hole, i;

    if (!capacity) {
        return;
    }
    hole = find(token);
    if (!entries[hole].token || entries[hole].object != object) {
        return;                                 /* another object stands for it by now */
    }
    used--;
    for (i = (hole + 1) & (capacity - 1); entries[i].token; i = (i + 1) & (capacity - 1)) {
        size_t home = home_of(entries[i].token);

        /* May the entry at i move to the hole?  Only if its home is not between them. */
        if (((i - home) & (capacity - 1)) >= ((i - hole) & (capacity - 1))) {
            entries[hole] = entries[i];
            hole = i;
        }
    }
    entries[hole] = (Entry){0, NULL};
}
