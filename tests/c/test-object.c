/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * test-object.c: the object vocabulary and errors.
 *
 * Rule: types stay registered for the life of the process, and each test has a process.
 */
#include <errno.h>
#include <qio/object.h>
#include "runner.h"

typedef struct Animal {
    Object parent;
    int legs;
} Animal;

typedef struct AnimalClass {
    ObjectClass parent;
    const char *sound;
} AnimalClass;

typedef struct Dog {
    Animal parent;
    int tail;
} Dog;

static char trace[16];

static void note(char c)
{
    size_t n = strlen(trace);

    if (n + 1 < sizeof(trace)) {
        trace[n] = c;
        trace[n + 1] = '\0';
    }
}

static void animal_init(Object *obj)
{
    ((Animal *)obj)->legs = 4;
    note('A');
}

static void animal_finalize(Object *obj)
{
    note('a');
}

static void animal_class_init(ObjectClass *klass, void *data)
{
    ((AnimalClass *)klass)->sound = data;
}

static void dog_init(Object *obj)
{
    CHECK_INT(((Animal *)obj)->legs, ==, 4);
    note('D');
}

static void dog_finalize(Object *obj)
{
    note('d');
}

static const TypeInfo animal_info = {
    .name = "test-animal", .instance_size = sizeof(Animal), .class_size = sizeof(AnimalClass),
    .instance_init = animal_init, .instance_finalize = animal_finalize,
    .class_init = animal_class_init, .class_data = (void *)"...", .abstract = true,
};
static const TypeInfo dog_info = {
    .name = "test-dog", .parent = "test-animal", .instance_size = sizeof(Dog),
    .instance_init = dog_init, .instance_finalize = dog_finalize,
};

TEST(a_child_may_be_registered_before_its_parent_and_everything_twice)
{
    Object *dog;

    trace[0] = '\0';
    qio_type_register_static(&dog_info);
    qio_type_register_static(&animal_info);
    qio_type_register_static(&dog_info);
    dog = qio_object_new("test-dog");
    CHECK(dog != NULL);
    CHECK_STR(qio_object_get_typename(dog), "test-dog");
    CHECK_STR(OBJECT_GET_CLASS(AnimalClass, dog, "test-animal")->sound, "...");
    CHECK_PTR(qio_object_ref(dog), ==, dog);
    qio_object_unref(dog);
    CHECK_STR(trace, "AD");
    qio_object_unref(dog);
    CHECK_STR(trace, "ADda");
    qio_object_unref(NULL);
}

TEST(an_unknown_or_abstract_type_gives_null_and_an_error)
{
    Error *err = NULL;

    CHECK(qio_object_new("test-nobody") == NULL);
    CHECK(qio_object_new_full("test-nobody", &err) == NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "test-nobody");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_INVAL);
    qio_error_free(err);
    err = NULL;
    qio_type_register_static(&animal_info);
    CHECK(qio_object_new_full("test-animal", &err) == NULL);
    CHECK_STR_HAS(qio_error_get_pretty(err), "abstract");
    qio_error_free(err);
    CHECK(qio_object_new_full(NULL, NULL) == NULL);
}

TEST(a_type_with_a_missing_parent_a_cycle_or_bad_sizes_is_an_error)
{
    static const TypeInfo orphan = { .name = "test-orphan", .parent = "test-nobody" };
    static const TypeInfo egg = { .name = "test-egg", .parent = "test-hen" };
    static const TypeInfo hen = { .name = "test-hen", .parent = "test-egg" };
    static const TypeInfo small = { .name = "test-small", .instance_size = 1 };
    static const TypeInfo badly_named = { .name = "a b" };
    static const struct {
        const TypeInfo *info;
        const char *says;
    } rows[] = {
        { &orphan, "test-nobody" }, { &egg, "ancestor" }, { &small, "instance_size" },
        { &badly_named, "type name" },
    };
    size_t i;

    qio_type_register_static(&hen);
    for (i = 0; i < G_N_ELEMENTS(rows); i++) {
        Error *err = NULL;

        test_note("%s", rows[i].info->name);
        qio_type_register_static(rows[i].info);
        CHECK(qio_object_new_full(rows[i].info->name, &err) == NULL);
        CHECK_STR_HAS(qio_error_get_pretty(err), rows[i].says);
        qio_error_free(err);
    }
}

TEST(a_wrong_cast_gives_null_and_a_warning)
{
    Object *plain = g_object_new(G_TYPE_OBJECT, NULL);
    Animal *none;

    qio_type_register_static(&animal_info);
    g_test_expect_message(NULL, G_LOG_LEVEL_CRITICAL, "*test-animal*");
    none = OBJECT_CHECK(Animal, plain, "test-animal");
    g_test_assert_expected_messages();
    CHECK(none == NULL);
    CHECK(OBJECT_CHECK(Animal, NULL, "test-animal") == NULL);
    qio_object_unref(plain);
}

TEST(the_first_error_wins_and_errno_is_kept)
{
    Error *err = NULL;

    errno = EPIPE;
    qio_error_set_errno(&err, ENOENT, "cannot open '%s'", "x");
    CHECK_INT(errno, ==, EPIPE);
    qio_error_set(&err, QIO_ERROR_LIMIT, "later");
    CHECK_INT(qio_error_get_code(err), ==, QIO_ERROR_SYSTEM);
    CHECK_INT(qio_error_get_errno(err), ==, ENOENT);
    CHECK_INT(qio_error_get_number(err), ==, ENOENT);
    CHECK_INT(qio_error_get_domain(err), ==, QIO_ERROR_DOMAIN_ERRNO);
    CHECK_STR(qio_error_get_pretty(err), "cannot open 'x': No such file or directory");
    qio_error_prepend(err, "disk %d: ", 1);
    CHECK_STR(qio_error_get_pretty(err), "disk 1: cannot open 'x': No such file or directory");
    qio_error_free(err);
    qio_error_set(NULL, QIO_ERROR_LIMIT, "nobody asks");
}

static void count_free(gpointer payload)
{
    ++*(int *)payload;
}

TEST(an_error_carries_numbers_bytes_and_a_payload_that_is_freed_once)
{
    Error *err = NULL, *other = NULL, *copy;
    int freed = 0;

    qio_error_set_number(&err, QIO_ERROR_TLS, QIO_ERROR_DOMAIN_TLS, 42, "alert");
    qio_error_set_bytes(err, 7);
    qio_error_set_payload(err, &freed, count_free);
    copy = qio_error_copy(err);
    CHECK_INT(qio_error_get_number(copy), ==, 42);
    CHECK_INT(qio_error_get_bytes(copy), ==, 7);
    CHECK(qio_error_get_payload(copy) == NULL);
    qio_error_propagate(&other, err);
    CHECK_PTR(other, ==, err);
    qio_error_propagate(&other, copy);
    qio_error_free(other);
    CHECK_INT(freed, ==, 1);
    CHECK_INT(qio_error_get_code(NULL), ==, 0);
}

TEST(peer_bytes_are_escaped_and_cut)
{
    char buf[16];

    CHECK_STR(qio_escape_bytes("ab\n\\", 4, buf, sizeof(buf)), "ab\\x0a\\x5c");
    CHECK_STR(qio_escape_bytes("0123456789abcdefgh", 18, buf, sizeof(buf)), "0123456789ab...");
    CHECK_STR(qio_escape_bytes("0123456789abcde", 15, buf, sizeof(buf)), "0123456789abcde");
    CHECK_STR(qio_escape_bytes("", 0, buf, sizeof(buf)), "");
    CHECK_STR(qio_escape_bytes("abc", 3, buf, 1), "");
}
