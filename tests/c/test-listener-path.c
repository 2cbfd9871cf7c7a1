/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-listener-path.c: the path of a unix listener: made, replaced when stale, never taken
 * from what lives or is no socket, removed at the end.
 */
#include "listener-util.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "testclock.h"

static char *path_of(const char *name)
{
    return g_build_filename(test_dir(), name, NULL);
}

static char *uri_of(const char *path)
{
    return g_strconcat("unix:", path, NULL);
}

static bool exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

/* A socket bound to the path, listening if backlog > 0. */
static int raw_socket(const char *path, int type, int backlog)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    CHECK_INT(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), ==, 0);
    if (backlog > 0) {
        CHECK_INT(listen(fd, backlog), ==, 0);
    }
    return fd;
}

/* A socket file that nobody listens on any more. */
static void make_stale(const char *path)
{
    close(raw_socket(path, SOCK_STREAM, 1));
    CHECK(exists(path));
}

/* Listening must fail as in use, and what is there must stay what it is. */
static void check_in_the_way(const char *path)
{
    char *uri = uri_of(path);
    struct stat before, after;
    Error *err = NULL;

    CHECK_INT(lstat(path, &before), ==, 0);
    CHECK_PTR(qio_net_listener_open_uri(uri, NULL, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    CHECK_STR_HAS(qio_error_get_pretty(err), uri);
    qio_error_free(err);
    CHECK_INT(lstat(path, &after), ==, 0);
    CHECK_INT(before.st_ino, ==, after.st_ino);
    CHECK_INT(before.st_mode, ==, after.st_mode);
    g_free(uri);
}

TEST(the_path_is_there_until_close)
{
    char *path = path_of("s");
    char *uri = uri_of(path);
    QIONetListener *listener = listen_on(uri);

    CHECK(exists(path));
    qio_net_listener_close(listener, NULL);
    CHECK(!exists(path));
    qio_object_unref(listener);

    listener = listen_on(uri);
    CHECK(exists(path));
    qio_object_unref(listener);
    CHECK(!exists(path));
    g_free(path);
    g_free(uri);
}

TEST(a_stale_socket_is_replaced)
{
    char *path = path_of("s");
    char *uri = uri_of(path);
    QIONetListener *listener;

    make_stale(path);
    listener = listen_on(uri);
    qio_object_unref(connect_to(uri));
    qio_object_unref(accept_one(listener));
    qio_object_unref(listener);
    CHECK(!exists(path));
    g_free(path);
    g_free(uri);
}

TEST(a_live_listener_keeps_its_path)
{
    char *path = path_of("s");
    char *uri = uri_of(path);
    QIONetListener *listener = listen_on(uri);

    check_in_the_way(path);
    check_in_the_way(path);
    qio_object_unref(connect_to(uri));
    /* The looks of the others were clients, too, which are gone. */
    for (int i = 0; i < 3; i++) {
        qio_object_unref(accept_one(listener));
    }
    qio_object_unref(listener);
    g_free(path);
    g_free(uri);
}

TEST(a_listener_with_a_full_queue_is_alive)
{
    char *path = path_of("s");
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int listening = raw_socket(path, SOCK_STREAM, 1);
    int clients[4];

    g_strlcpy(sun.sun_path, path, sizeof(sun.sun_path));
    for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(clients[i], (struct sockaddr *)&sun, sizeof(sun)) < 0) {
            CHECK_INT(errno, ==, EAGAIN);
        }
    }
    check_in_the_way(path);
    for (size_t i = 0; i < G_N_ELEMENTS(clients); i++) {
        close(clients[i]);
    }
    close(listening);
    g_free(path);
}

TEST(a_socket_of_another_type_is_alive)
{
    static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };

    for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
        char *path = path_of(i ? "seqpacket" : "dgram");
        int fd = raw_socket(path, types[i], types[i] == SOCK_DGRAM ? 0 : 1);

        check_in_the_way(path);
        close(fd);
        g_free(path);
    }
}

TEST(what_is_no_socket_stays)
{
    char *file = path_of("file");
    char *directory = path_of("directory");
    char *fifo = path_of("fifo");
    char *link_to_file = path_of("link");
    char *dangling = path_of("dangling");
    char *stale = path_of("stale");
    char *link_to_stale = path_of("link-to-stale");

    CHECK(g_file_set_contents(file, "precious", -1, NULL));
    CHECK_INT(mkdir(directory, 0700), ==, 0);
    CHECK_INT(mkfifo(fifo, 0600), ==, 0);
    CHECK_INT(symlink(file, link_to_file), ==, 0);
    CHECK_INT(symlink("/no/such/thing", dangling), ==, 0);
    make_stale(stale);
    CHECK_INT(symlink(stale, link_to_stale), ==, 0);

    check_in_the_way(file);
    check_in_the_way(directory);
    check_in_the_way(fifo);
    check_in_the_way(link_to_file);
    check_in_the_way(dangling);
    check_in_the_way(link_to_stale);
    CHECK(exists(stale));
    g_free(file);
    g_free(directory);
    g_free(fifo);
    g_free(link_to_file);
    g_free(dangling);
    g_free(stale);
    g_free(link_to_stale);
}

TEST(a_path_that_became_another_s_stays)
{
    char *path = path_of("s");
    char *aside = path_of("aside");
    char *uri = uri_of(path);
    QIONetListener *first = listen_on(uri);
    QIONetListener *second;

    CHECK_INT(rename(path, aside), ==, 0);
    second = listen_on(uri);
    qio_object_unref(first);
    CHECK(exists(path));
    qio_object_unref(connect_to(uri));
    qio_object_unref(accept_one(second));
    qio_object_unref(second);
    CHECK(!exists(path));
    g_free(path);
    g_free(aside);
    g_free(uri);
}

/* ---- several at once ---- */

typedef struct Rival {
    pthread_t thread;
    pthread_barrier_t *start;
    const char *uri;
    QIONetListener *listener;
} Rival;

static void *compete(void *opaque)
{
    Rival *rival = opaque;
    Error *err = NULL;

    pthread_barrier_wait(rival->start);
    rival->listener = qio_net_listener_open_uri(rival->uri, NULL, &err);
    if (rival->listener == NULL) {
        CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
        qio_error_free(err);
    }
    return NULL;
}

TEST(one_of_several_gets_a_stale_path)
{
    enum { RIVALS = 4, ROUNDS = 50 };
    char *path = path_of("s");
    char *uri = uri_of(path);

    for (int round = 0; round < ROUNDS; round++) {
        Rival rivals[RIVALS];
        pthread_barrier_t start;
        QIONetListener *winner = NULL;

        make_stale(path);
        CHECK_INT(pthread_barrier_init(&start, NULL, RIVALS), ==, 0);
        for (int i = 0; i < RIVALS; i++) {
            rivals[i] = (Rival){ .start = &start, .uri = uri };
            CHECK_INT(pthread_create(&rivals[i].thread, NULL, compete, &rivals[i]), ==, 0);
        }
        for (int i = 0; i < RIVALS; i++) {
            CHECK_INT(pthread_join(rivals[i].thread, NULL), ==, 0);
            if (rivals[i].listener != NULL) {
                CHECK_PTR(winner, ==, NULL);
                winner = rivals[i].listener;
            }
        }
        CHECK(winner != NULL);
        qio_object_unref(connect_to(uri));
        qio_object_unref(winner);
        CHECK(!exists(path));
        pthread_barrier_destroy(&start);
    }
    g_free(path);
    g_free(uri);
}

TEST(a_directory_that_somebody_holds_locked)
{
    int fd = open(test_dir(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char *path = path_of("s");
    char *uri = uri_of(path);
    QIONetListener *listener;

    CHECK_INT(flock(fd, LOCK_EX), ==, 0);
    make_stale(path);
    testclock_install();
    listener = listen_on(uri);
    CHECK_INT(testclock_elapsed_ms(), >=, 1000);
    CHECK_INT(testclock_elapsed_ms(), <=, 1100);
    testclock_remove();
    qio_object_unref(connect_to(uri));
    qio_object_unref(listener);
    close(fd);
    g_free(path);
    g_free(uri);
}

/* ---- names ---- */

TEST(an_empty_path_is_a_fresh_one)
{
    QIONetListener *one, *two;
    char *first, *second;

    one = listen_on("unix:");
    two = listen_on("unix:");
    first = address_of(one, 0);
    second = address_of(two, 0);
    CHECK(strcmp(first, second) != 0);
    CHECK(g_str_has_prefix(first + strlen("unix:"), g_get_tmp_dir()));
    CHECK(exists(first + strlen("unix:")));
    qio_object_unref(connect_to(second));
    qio_object_unref(accept_one(two));
    qio_object_unref(one);
    qio_object_unref(two);
    CHECK(!exists(first + strlen("unix:")));
    g_free(first);
    g_free(second);
}

TEST(the_longest_path)
{
    char *prefix = path_of("");
    char *fill = g_strnfill(107 - strlen(prefix), 'x');
    char *path = g_strconcat(prefix, fill, NULL);
    char *uri = uri_of(path);
    QIONetListener *listener = listen_on(uri);
    char *chosen = address_of(listener, 0);

    CHECK_STR(chosen, uri);
    CHECK(exists(path));
    qio_object_unref(connect_to(uri));
    qio_object_unref(accept_one(listener));
    qio_object_unref(listener);
    CHECK(!exists(path));
    g_free(prefix);
    g_free(fill);
    g_free(path);
    g_free(uri);
    g_free(chosen);
}

TEST(abstract_names_belong_to_the_listener)
{
    char *uri = g_strconcat("abstract:", test_dir(), NULL);
    QIONetListener *listener = listen_on(uri);
    Error *err = NULL;

    CHECK_PTR(qio_net_listener_open_uri(uri, NULL, &err), ==, NULL);
    CHECK_INT(qio_error_get_errno(err), ==, EADDRINUSE);
    qio_error_free(err);
    qio_object_unref(listener);
    qio_object_unref(listen_on(uri));
    g_free(uri);
}
