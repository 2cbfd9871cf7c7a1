/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * names.c: answers for look-ups, see names.h.
 *
 * Owns: the table of answers.  They are made by the real getaddrinfo from numeric addresses, so
 * that freeaddrinfo takes them.  Rule: one lock for all.
 */
#include "names.h"
#include "runner.h"
#include "seam.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_NAMES 16

typedef struct Name {
    char host[64];
    char addresses[1000];
    int eai;
    bool held;
} Name;

static Name names[MAX_NAMES];
static int nnames;
static int asked, answered, held;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static QIOSysTable table;

/* Lock held. */
static Name *find_name(const char *host, bool add)
{
    for (int i = 0; i < nnames; i++) {
        if (strcmp(names[i].host, host) == 0) {
            return &names[i];
        }
    }
    if (!add) {
        return NULL;
    }
    CHECK_INT(nnames, <, MAX_NAMES);
    names[nnames] = (Name) { .eai = 0 };
    snprintf(names[nnames].host, sizeof(names[nnames].host), "%s", host);
    return &names[nnames++];
}

static bool has_family(const char *address, int family)
{
    bool six = strchr(address, ':') != NULL;

    return family == AF_UNSPEC || (family == AF_INET6) == six;
}

/* The addresses of a family, one list. */
static int make_list(char *addresses, const struct addrinfo *hints, struct addrinfo **found)
{
    struct addrinfo numeric = *hints;
    struct addrinfo **end = found;
    char *rest = NULL;

    *found = NULL;
    numeric.ai_flags |= AI_NUMERICHOST;
    for (char *one = strtok_r(addresses, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
        if (!has_family(one, hints->ai_family)) {
            continue;
        }
        CHECK_INT(getaddrinfo(one, NULL, &numeric, end), ==, 0);
        end = &(*end)->ai_next;
    }
    return *found ? 0 : EAI_NONAME;
}

static int answer(const char *node, const char *service, const struct addrinfo *hints,
                  struct addrinfo **found)
{
    char addresses[sizeof(names[0].addresses)] = "";
    int eai = EAI_NONAME;
    Name *name;

    pthread_mutex_lock(&lock);
    asked++;
    name = find_name(node, false);
    if (name && name->held) {
        held++;
        pthread_cond_broadcast(&changed);
        while (name->held) {
            pthread_cond_wait(&changed, &lock);
        }
        held--;
    }
    if (name) {
        eai = name->eai;
        memcpy(addresses, name->addresses, sizeof(addresses));
    }
    answered++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return eai != 0 ? eai : make_list(addresses, hints, found);
}

void names_install(void)
{
    pthread_mutex_lock(&lock);
    nnames = asked = answered = held = 0;
    pthread_mutex_unlock(&lock);
    table = *seam_get_below();
    table.getaddrinfo = answer;
    seam_set_below(&table);
    seam_install();
}

static int run_thread(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *),
                      void *opaque)
{
    start(opaque);
    return 0;
}

void names_at_once(void)
{
    table.pthread_create = run_thread;
}

void names_answer(const char *host, int eai, const char *addresses)
{
    Name *name;

    pthread_mutex_lock(&lock);
    name = find_name(host, true);
    name->eai = eai;
    snprintf(name->addresses, sizeof(name->addresses), "%s", addresses ? addresses : "");
    pthread_mutex_unlock(&lock);
}

void names_hold(const char *host)
{
    pthread_mutex_lock(&lock);
    find_name(host, true)->held = true;
    pthread_mutex_unlock(&lock);
}

void names_wait_held(int count)
{
    pthread_mutex_lock(&lock);
    while (held < count) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

void names_release(void)
{
    pthread_mutex_lock(&lock);
    for (int i = 0; i < nnames; i++) {
        names[i].held = false;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

int names_asked(void)
{
    int count;

    pthread_mutex_lock(&lock);
    count = asked;
    pthread_mutex_unlock(&lock);
    return count;
}

void names_settle(void)
{
    pthread_mutex_lock(&lock);
    while (answered < asked) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}
