/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * net/search.h: what an address stands for and who answers there, as parts of operations in a loop.
 *
 * Owns: QIOSearch (a look-up) and QIOPursuit (a race of connection attempts, RFC 8305), which an
 * operation's state is made of; either is its first member, so that qio_task_get_state() is it.
 * Rules: everything runs where the loop's internal watches run, one after the other, and is ended
 * by the task's finish.  What fails, fails the task.
 */
#ifndef QIO_NET_SEARCH_H
#define QIO_NET_SEARCH_H

#include <qio/task.h>
#include "net/net-priv.h"
#include "net/resolver.h"

/*
 * found: called once, in the loop, with at least one address
 */
typedef struct QIOSearch {
    QIOAddress *addr;
    QIOOptions *options;
    void (*found)(QIOTask *task, const QIOSockaddr *found, int count);
    QIOLookup *lookup;
    QIOLoopWatch *watch;
} QIOSearch;

void qio_search_init(QIOSearch *search, const QIOAddress *addr, const QIOOptions *options,
                     void (*found)(QIOTask *task, const QIOSockaddr *found, int count));
/* Begins, in the loop: the first member of the task's state is the search. */
void qio_search_begin(QIOTask *task);
void qio_search_clear(QIOSearch *search);

/*
 * connected: called once, in the loop, when the race has a winner for qio_connect_adopt()
 */
typedef struct QIOPursuit {
    QIOSearch search;
    void (*connected)(QIOTask *task, QIOConnect *race);
    QIOConnect *race;
    QIOLoopWatch *timer;
    QIOLoopWatch *watches[QIO_CONNECT_MAX];     /* of the attempts that wait */
} QIOPursuit;

void qio_pursuit_init(QIOPursuit *pursuit, const QIOAddress *addr, const QIOOptions *options,
                      void (*connected)(QIOTask *task, QIOConnect *race));
/* Begins, in the loop: the first member of the task's state is the pursuit. */
void qio_pursuit_begin(QIOTask *task);
void qio_pursuit_clear(QIOPursuit *pursuit);

/* Calls begin in the loop, unless the task has ended by then. */
void qio_task_begin_in_loop(QIOTask *task, void (*begin)(QIOTask *task));
/* Closing the channel ends the task, with CANCELLED. */
void qio_task_end_with(QIOTask *task, QIOChannel *ioc);

#endif
