/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * qio/object.h: the object vocabulary of the channel API, as thin names over GObject.
 *
 * Owns: the table of type descriptions (TypeInfo by name) and the checked casts.
 * Rule: a description may be registered in any order and twice; the GType behind it is
 * made at the first qio_object_new() or cast, parents first.  Nothing here aborts.
 */
#ifndef QIO_OBJECT_H
#define QIO_OBJECT_H

#include <glib-object.h>
#include <stdbool.h>
#include <qio/error.h>

G_BEGIN_DECLS

typedef GObject Object;
typedef GObjectClass ObjectClass;

/**
 * TypeInfo:
 * @name: the type's name, a GType name (letters, digits, "-", "_", "+"; at least 3)
 * @parent: the parent's name; NULL means the root, "object"
 * @instance_size: size of the instance struct; 0 = the parent's
 * @instance_init: called on a new, zero-filled instance, the parent's first
 * @instance_finalize: called before the memory is freed, the child's first
 * @abstract: true when qio_object_new() must refuse it
 * @class_size: size of the class struct; 0 = the parent's
 * @class_init: fills in the class, once
 * @class_data: handed to @class_init
 *
 * Describes a type for qio_type_register_static(), which keeps the pointer.
 */
typedef struct TypeInfo {
    const char *name;
    const char *parent;
    size_t instance_size;
    void (*instance_init)(Object *obj);
    void (*instance_finalize)(Object *obj);
    bool abstract;
    size_t class_size;
    void (*class_init)(ObjectClass *klass, void *data);
    void *class_data;
} TypeInfo;

/**
 * qio_type_register_static:
 * @info: a description that stays valid for the life of the process
 *
 * Notes a type.  The parent may be registered later.  A second registration of a name is
 * ignored when it is the same pointer or an equal description, and a warning otherwise.
 * Any thread.
 */
void qio_type_register_static(const TypeInfo *info);

/**
 * qio_type_lookup:
 * @name: a type's name
 * @errp: where to put an error, or NULL
 *
 * Gives the GType behind @name, making it (parents first) if need be.  Any thread.
 * Returns: the type, or 0 with an error (unknown, no such parent, sizes smaller than the
 * parent's, a cycle)
 */
GType qio_type_lookup(const char *name, Error **errp);

/**
 * qio_type_register_builtin:
 * @name: a type's name
 * @get_type: makes or gives its GType
 *
 * For classes that are written on GObject itself and have private data.  Any thread.
 */
void qio_type_register_builtin(const char *name, GType (*get_type)(void));

/**
 * qio_object_new, qio_object_new_full:
 * @type_name: the type's name
 *
 * Makes an instance with one reference, owned by the caller.  Any thread.
 * Returns: the object, or NULL for an unknown or abstract type; the _full form says why (INVAL)
 */
Object *qio_object_new(const char *type_name);
Object *qio_object_new_full(const char *type_name, Error **errp);

/** qio_object_ref: adds a reference; NULL is allowed and returned.  Any thread. */
gpointer qio_object_ref(gpointer obj);
/** qio_object_unref: drops a reference; NULL is allowed.  Any thread. */
void qio_object_unref(gpointer obj);
/** qio_object_get_typename: the name of the object's own type; static. */
const char *qio_object_get_typename(const Object *obj);

/**
 * qio_object_cast, qio_object_class_cast:
 * @cache: a zeroed GType that remembers what @type_name stands for
 *
 * Behind OBJECT_CHECK() and its kin.
 * Returns: the argument, or NULL with a critical warning when it is not of that type
 * (NULL stays NULL in silence)
 */
gpointer qio_object_cast(gconstpointer obj, const char *type_name, GType *cache);
gpointer qio_object_class_cast(gconstpointer klass, const char *type_name, GType *cache);

#define OBJECT(obj) ((Object *)(obj))
#define OBJECT_CHECK(type, obj, name) \
    (__extension__({ static GType qio_cast_type_; \
                     (type *)qio_object_cast((obj), (name), &qio_cast_type_); }))
#define OBJECT_CLASS_CHECK(class_type, klass, name) \
    (__extension__({ static GType qio_cast_type_; \
                     (class_type *)qio_object_class_cast((klass), (name), &qio_cast_type_); }))
#define OBJECT_GET_CLASS(class_type, obj, name) \
    OBJECT_CLASS_CHECK(class_type, G_OBJECT_GET_CLASS(obj), name)

G_END_DECLS
#endif
