/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * base/object.c: type descriptions by name, and the GTypes made from them on demand.
 *
 * Owns: the register.  A description is kept by pointer until the first use of its name; then
 * its parents and it become GTypes.  An entry never goes away.
 * Rule: `register_lock` guards the table; it is recursive because making a parent's type may
 * run registrations of its own.  GObject's own locks are taken below it, never above.
 */
#include <pthread.h>
#include <string.h>
#include <qio/object.h>

typedef struct TypeEntry {
    const TypeInfo *info;           /* NULL for a builtin */
    GType (*get_type)(void);        /* NULL for a description */
    GType type;                     /* 0 until made */
    bool making;                    /* set while its parents are made: finds cycles */
} TypeEntry;

static pthread_once_t register_once = PTHREAD_ONCE_INIT;
static pthread_mutex_t register_lock;
static GHashTable *register_table;  /* name -> TypeEntry */

static void register_init(void)
{
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&register_lock, &attr);
    pthread_mutexattr_destroy(&attr);
    register_table = g_hash_table_new(g_str_hash, g_str_equal);
}

static void register_enter(void)
{
    pthread_once(&register_once, register_init);
    pthread_mutex_lock(&register_lock);
}

static void register_leave(void)
{
    pthread_mutex_unlock(&register_lock);
}

static bool type_info_equal(const TypeInfo *a, const TypeInfo *b)
{
    return a == b ||
           (g_strcmp0(a->parent, b->parent) == 0 && a->instance_size == b->instance_size &&
            a->instance_init == b->instance_init &&
            a->instance_finalize == b->instance_finalize && a->abstract == b->abstract &&
            a->class_size == b->class_size && a->class_init == b->class_init &&
            a->class_data == b->class_data);
}

static void register_add(const char *name, const TypeInfo *info, GType (*get_type)(void))
{
    TypeEntry *entry;

    register_enter();
    entry = g_hash_table_lookup(register_table, name);
    if (!entry) {
        entry = g_new0(TypeEntry, 1);
        entry->info = info;
        entry->get_type = get_type;
        g_hash_table_insert(register_table, (gpointer)name, entry);
    } else if (get_type != entry->get_type ||
               (info && !(entry->info && type_info_equal(info, entry->info)))) {
        g_warning("type '%s' is registered already, differently: the first one stays", name);
    }
    register_leave();
}

void qio_type_register_static(const TypeInfo *info)
{
    if (!info || !info->name) {
        g_warning("qio_type_register_static: a TypeInfo with a name is needed");
        return;
    }
    register_add(info->name, info, NULL);
}

void qio_type_register_builtin(const char *name, GType (*get_type)(void))
{
    register_add(name, NULL, get_type);
}

/* ---- from a description to a GType ---- */

/* The nearest description at or above a type; GObject's own types have none. */
static const TypeInfo *type_info_of(GType type)
{
    TypeEntry *entry = g_hash_table_lookup(register_table, g_type_name(type));

    return entry ? entry->info : NULL;
}

static void instance_init(GTypeInstance *instance, gpointer klass)
{
    const TypeInfo *info;

    register_enter();
    /* GObject shows each level's own class in the instance; klass is always the leaf's. */
    info = type_info_of(G_TYPE_FROM_INSTANCE(instance));
    register_leave();
    if (info && info->instance_init) {
        info->instance_init((Object *)instance);
    }
}

/* One finalize for every described type: runs the descriptions from the child up, then the
 * nearest GObject class that has none. */
static void instance_finalize(GObject *object)
{
    GType type = G_OBJECT_TYPE(object);
    const TypeInfo *info;
    gpointer builtin;

    for (;; type = g_type_parent(type)) {
        register_enter();
        info = type_info_of(type);
        register_leave();
        if (!info) {
            break;
        }
        if (info->instance_finalize) {
            info->instance_finalize(object);
        }
    }
    builtin = g_type_class_peek(type);
    G_OBJECT_CLASS(builtin)->finalize(object);
}

static void class_init(gpointer klass, gpointer data)
{
    const TypeInfo *info = data;

    G_OBJECT_CLASS(klass)->finalize = instance_finalize;
    if (info->class_init) {
        info->class_init((ObjectClass *)klass, info->class_data);
    }
}

static bool type_sizes(const TypeInfo *info, GType parent, GTypeInfo *out, Error **errp)
{
    GTypeQuery query;
    size_t class_size, instance_size;

    g_type_query(parent, &query);
    class_size = info->class_size ? info->class_size : query.class_size;
    instance_size = info->instance_size ? info->instance_size : query.instance_size;
    if (class_size < query.class_size || instance_size < query.instance_size) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "type '%s': class_size and instance_size must be at least those of its "
                      "parent '%s' (%u and %u)", info->name, g_type_name(parent),
                      query.class_size, query.instance_size);
        return false;
    }
    if (class_size > G_MAXUINT16 || instance_size > G_MAXUINT16) {
        qio_error_set(errp, QIO_ERROR_INVAL, "type '%s': sizes must be below 65536", info->name);
        return false;
    }
    out->class_size = (guint16)class_size;
    out->instance_size = (guint16)instance_size;
    return true;
}

static bool type_name_valid(const char *name)
{
    return strlen(name) >= 3 && (g_ascii_isalpha(name[0]) || name[0] == '_') &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+") ==
           strlen(name);
}

static GType type_make(TypeEntry *entry, Error **errp)
{
    const TypeInfo *info = entry->info;
    const char *parent_name = info->parent ? info->parent : "object";
    GTypeInfo ginfo = { .class_init = class_init, .class_data = info,
                        .instance_init = instance_init };
    GType parent;

    if (entry->making) {
        qio_error_set(errp, QIO_ERROR_INVAL, "type '%s' is its own ancestor", info->name);
        return 0;
    }
    if (!type_name_valid(info->name)) {
        qio_error_set(errp, QIO_ERROR_INVAL,
                      "'%s' is no type name: 3 or more letters, digits, '-', '_', '+'",
                      info->name);
        return 0;
    }
    entry->making = true;
    parent = qio_type_lookup(parent_name, errp);
    entry->making = false;
    if (!parent || !type_sizes(info, parent, &ginfo, errp)) {
        return 0;
    }
    return g_type_register_static(parent, info->name, &ginfo,
                                  info->abstract ? G_TYPE_FLAG_ABSTRACT : 0);
}

static GType register_lookup(const char *name, Error **errp)
{
    TypeEntry *entry = g_hash_table_lookup(register_table, name);
    GType type;

    if (!entry) {
        type = strcmp(name, "object") == 0 ? G_TYPE_OBJECT : g_type_from_name(name);
        if (!type || !g_type_is_a(type, G_TYPE_OBJECT)) {
            qio_error_set(errp, QIO_ERROR_INVAL, "no type '%s' is registered", name);
            return 0;
        }
        return type;
    }
    if (!entry->type) {
        entry->type = entry->get_type ? entry->get_type() : type_make(entry, errp);
    }
    return entry->type;
}

GType qio_type_lookup(const char *name, Error **errp)
{
    GType type;

    if (!name) {
        qio_error_set(errp, QIO_ERROR_INVAL, "a type name is needed");
        return 0;
    }
    register_enter();
    type = register_lookup(name, errp);
    register_leave();
    return type;
}

/* ---- objects ---- */

Object *qio_object_new_full(const char *type_name, Error **errp)
{
    GType type = qio_type_lookup(type_name, errp);

    if (!type) {
        return NULL;
    }
    if (G_TYPE_IS_ABSTRACT(type)) {
        qio_error_set(errp, QIO_ERROR_INVAL, "type '%s' is abstract: make one of its subclasses",
                      type_name);
        return NULL;
    }
    return g_object_new(type, NULL);
}

Object *qio_object_new(const char *type_name)
{
    return qio_object_new_full(type_name, NULL);
}

gpointer qio_object_ref(gpointer obj)
{
    return obj ? g_object_ref(obj) : NULL;
}

void qio_object_unref(gpointer obj)
{
    if (obj) {
        g_object_unref(obj);
    }
}

const char *qio_object_get_typename(const Object *obj)
{
    return obj ? G_OBJECT_TYPE_NAME(obj) : NULL;
}

static bool cast_fits(GType have, const char *type_name, GType *cache)
{
    GType want = __atomic_load_n(cache, __ATOMIC_RELAXED);

    if (G_UNLIKELY(!want)) {
        want = qio_type_lookup(type_name, NULL);
        __atomic_store_n(cache, want, __ATOMIC_RELAXED);
    }
    return have == want || (want && g_type_is_a(have, want));
}

gpointer qio_object_cast(gconstpointer obj, const char *type_name, GType *cache)
{
    if (!obj || cast_fits(G_TYPE_FROM_INSTANCE(obj), type_name, cache)) {
        return (gpointer)obj;
    }
    g_critical("object of type '%s' is no '%s'", G_OBJECT_TYPE_NAME(obj), type_name);
    return NULL;
}

gpointer qio_object_class_cast(gconstpointer klass, const char *type_name, GType *cache)
{
    if (!klass || cast_fits(G_TYPE_FROM_CLASS(klass), type_name, cache)) {
        return (gpointer)klass;
    }
    g_critical("class of type '%s' is no '%s'", g_type_name(G_TYPE_FROM_CLASS(klass)), type_name);
    return NULL;
}
