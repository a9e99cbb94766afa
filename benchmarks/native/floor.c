/* The floor: the least that native code can do for the rows of this benchmark.
 *
 * Stand-ins for what the rows use, with no rules at all: nothing is fired twice, cancelled
 * twice, paused, reported, traversed by the garbage collector, subclassed or kept for later;
 * there are no contexts, no cancellers, no debug mode, at most one extra argument, and C may
 * recurse. What is left is what a row's function can see: the same functions called with the
 * same values, the same generators resumed. Built by the benchmark, for the benchmark.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>

#include "floor_failure.h"

/* ---- Deferred: a result, what is to be called with it, and one that waits for it. */

enum { ON_VALUE, ON_FAILURE, ON_BOTH };

typedef struct {
    PyObject *function, *argument;
    int kind;
} Link;

typedef struct {
    Py_ssize_t next, count, size;
    Link links[];
} Links;

typedef struct Deferred {
    PyObject_HEAD
    PyObject *result;
    struct Deferred *waiter;
    Py_ssize_t place; /* in what the waiter gathers */
    Link first;
    Links *more;
} Deferred;

/* One that a generator or coroutine fires when it ends. */
typedef struct {
    Deferred deferred;
    PyObject *generator;
} Driven;

/* One that others fire when the last of them has. */
typedef struct {
    Deferred deferred;
    PyObject *items;
    Py_ssize_t left;
    int pairs;
} Gathering;

static PyTypeObject DeferredType, DrivenType, GatheringType;
static PyObject *str_throw, *CancelledError;

static inline int
is_deferred(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    return type == &DeferredType || type == &DrivenType || type == &GatheringType;
}

/* Takes the reference to the result. */
static Deferred *
deferred_of(PyTypeObject *type, PyObject *result)
{
    Deferred *self = (Deferred *)_PyObject_New(type);
    self->result = result;
    self->waiter = NULL;
    self->first.function = NULL;
    self->more = NULL;
    return self;
}

static void fire(Deferred *self, PyObject *value);

/* Send what arrived to the generator, until it waits or ends. */
static void
resume(Driven *self, PyObject *value)
{
    PyObject *held = NULL, *out;
    for (;;) {
        PySendResult status;
        if (IS_FAILURE(value) && PyGen_CheckExact(self->generator)) {
            PyObject *args[] = {self->generator, VALUE(value)};
            out = PyObject_VectorcallMethod(str_throw, args, 2, NULL);
            status = out ? PYGEN_NEXT : PYGEN_ERROR;
            if (!out && PyErr_ExceptionMatches(PyExc_StopIteration)) {
                PyObject *stop = raised();
                out = Py_NewRef(((PyStopIterationObject *)stop)->value);
                Py_DECREF(stop);
                status = PYGEN_RETURN;
            }
        }
        else {
            /* A coroutine takes the result from what it awaits. With None CPython asks that for
             * it by a slot; with anything else, from 3.12 on, by a method named `send`. */
            int none = IS_FAILURE(value) || PyCoro_CheckExact(self->generator);
            status = PyIter_Send(self->generator, none ? Py_None : value, &out);
        }
        Py_XDECREF(held);
        if (status != PYGEN_NEXT) {
            Py_CLEAR(self->generator);
            fire(&self->deferred, status == PYGEN_RETURN ? out : failure_of(raised()));
            return;
        }
        held = value = out;
        if (is_deferred(out)) {
            value = ((Deferred *)out)->result;
            if (!value) {
                ((Deferred *)out)->waiter = (Deferred *)Py_NewRef(self);
                Py_DECREF(out);
                return;
            }
        }
    }
}

/* Keep what arrived at its place, and fire after the last. */
static void
gathered(Gathering *self, Py_ssize_t place, PyObject *value)
{
    PyObject *item = Py_NewRef(value);
    if (self->pairs) {
        PyObject *pair = PyTuple_New(2);
        PyTuple_SET_ITEM(pair, 0, Py_NewRef(Py_True));
        PyTuple_SET_ITEM(pair, 1, item);
        item = pair;
    }
    PyList_SET_ITEM(self->items, place, item);
    if (--self->left == 0) {
        PyObject *items = self->items;
        self->items = NULL;
        fire(&self->deferred, items);
    }
}

/* Call one link. True if the outcome is that of a Deferred without one. */
static inline int
step(Deferred *self, Link link)
{
    PyObject *old = self->result;
    if (link.kind == ON_BOTH || IS_FAILURE(old) == link.kind) {
        PyObject *args[] = {NULL, old, link.argument};
        size_t count = link.argument ? 2 : 1;
        PyObject *value = PyObject_Vectorcall(
            link.function, args + 1, count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        if (!value)
            value = failure_of(raised());
        else if (is_deferred(value)) {
            Deferred *inner = (Deferred *)value;
            value = Py_XNewRef(inner->result);
            if (!value)
                inner->waiter = (Deferred *)Py_NewRef(self);
            Py_DECREF(inner);
        }
        self->result = value;
        Py_DECREF(old);
    }
    Py_DECREF(link.function);
    Py_XDECREF(link.argument);
    return !self->result;
}

/* Call all that is to be called, then tell the one that waits. */
static void
run(Deferred *self)
{
    if (self->first.function) {
        Link link = self->first;
        self->first.function = NULL;
        if (step(self, link))
            return;
    }
    for (Links *more = self->more; more && more->next < more->count;)
        if (step(self, more->links[more->next++]))
            return;
    Deferred *waiter = self->waiter;
    if (waiter) {
        self->waiter = NULL;
        if (Py_IS_TYPE(waiter, &DrivenType))
            resume((Driven *)waiter, self->result);
        else if (Py_IS_TYPE(waiter, &GatheringType))
            gathered((Gathering *)waiter, self->place, self->result);
        else
            fire(waiter, Py_NewRef(self->result));
        Py_DECREF(waiter);
    }
}

/* Takes the reference to the value. */
static void
fire(Deferred *self, PyObject *value)
{
    self->result = value;
    run(self);
}

static PyObject *
deferred_new(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    return (PyObject *)deferred_of((PyTypeObject *)type, NULL);
}

static void
deferred_dealloc(PyObject *object)
{
    Deferred *self = (Deferred *)object;
    Py_XDECREF(self->result);
    Py_XDECREF(self->waiter);
    Py_XDECREF(self->first.function);
    if (self->more)
        PyMem_Free(self->more);
    if (Py_IS_TYPE(object, &DrivenType))
        Py_XDECREF(((Driven *)object)->generator);
    else if (Py_IS_TYPE(object, &GatheringType))
        Py_XDECREF(((Gathering *)object)->items);
    PyObject_Free(object);
}

static inline PyObject *
add(Deferred *self, int kind, PyObject *const *args, Py_ssize_t count)
{
    Link link = {Py_NewRef(args[0]), count > 1 ? Py_NewRef(args[1]) : NULL, kind};
    if (self->result)
        step(self, link);
    else if (!self->first.function && !self->more)
        self->first = link;
    else {
        Links *more = self->more;
        if (!more || more->count == more->size) {
            Py_ssize_t size = more ? more->size * 2 : 3;
            self->more = PyMem_Realloc(more, sizeof(Links) + size * sizeof(Link));
            if (!more)
                self->more->next = self->more->count = 0;
            more = self->more;
            more->size = size;
        }
        more->links[more->count++] = link;
    }
    return Py_NewRef(self);
}

static PyObject *
add_callback(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add((Deferred *)self, ON_VALUE, args, count);
}

static PyObject *
add_errback(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add((Deferred *)self, ON_FAILURE, args, count);
}

static PyObject *
add_both(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    return add((Deferred *)self, ON_BOTH, args, count);
}

static PyObject *
callback(PyObject *self, PyObject *value)
{
    fire((Deferred *)self, Py_NewRef(value));
    Py_RETURN_NONE;
}

static PyObject *
cancel(PyObject *self, PyObject *ignored)
{
    fire((Deferred *)self, failure_of(PyObject_CallNoArgs(CancelledError)));
    Py_RETURN_NONE;
}

/* It is its own iterator: ends with its result, or yields itself to what drives. */
static PySendResult
deferred_send(PyObject *self, PyObject *ignored, PyObject **out)
{
    PyObject *result = ((Deferred *)self)->result;
    *out = NULL;
    if (!result) {
        *out = Py_NewRef(self);
        return PYGEN_NEXT;
    }
    if (IS_FAILURE(result)) {
        PyErr_SetObject((PyObject *)Py_TYPE(VALUE(result)), VALUE(result));
        return PYGEN_ERROR;
    }
    *out = Py_NewRef(result);
    return PYGEN_RETURN;
}

/* What CPython asks from 3.12 on; before, what is awaited must only have it. */
static PyObject *
deferred_next(PyObject *self)
{
    PyObject *out;
    if (deferred_send(self, Py_None, &out) == PYGEN_RETURN) {
        PyErr_SetObject(PyExc_StopIteration, out);
        Py_CLEAR(out);
    }
    return out;
}

static PyAsyncMethods deferred_async = {.am_await = PyObject_SelfIter, .am_send = deferred_send};

static PyMethodDef deferred_methods[] = {
    {"addCallback", (PyCFunction)add_callback, METH_FASTCALL, NULL},
    {"addErrback", (PyCFunction)add_errback, METH_FASTCALL, NULL},
    {"addBoth", (PyCFunction)add_both, METH_FASTCALL, NULL},
    {"callback", callback, METH_O, NULL},
    {"cancel", cancel, METH_NOARGS, NULL},
    {NULL},
};

#define DEFERRED_TYPE(NAME, STRUCT)                                                              \
    static PyTypeObject NAME = {                                                                 \
        PyVarObject_HEAD_INIT(NULL, 0).tp_name = "floor.Deferred",                               \
        .tp_basicsize = sizeof(STRUCT),                                                          \
        .tp_flags = Py_TPFLAGS_DEFAULT,                                                          \
        .tp_dealloc = deferred_dealloc,                                                          \
        .tp_as_async = &deferred_async,                                                          \
        .tp_iter = PyObject_SelfIter,                                                            \
        .tp_iternext = deferred_next,                                                            \
        .tp_methods = deferred_methods,                                                          \
        .tp_vectorcall = deferred_new,                                                           \
    }

DEFERRED_TYPE(DeferredType, Deferred);
DEFERRED_TYPE(DrivenType, Driven);
DEFERRED_TYPE(GatheringType, Gathering);

/* ---- Generators and coroutines: sent to with nothing in between. */

/* Takes the reference to the generator. */
static PyObject *
drive(PyObject *generator)
{
    Driven *self = (Driven *)deferred_of(&DrivenType, NULL);
    self->generator = generator;
    resume(self, Py_None);
    return (PyObject *)self;
}

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *function;
} Inline;

static PyObject *
inline_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names)
{
    PyObject *generator = PyObject_Vectorcall(((Inline *)self)->function, args, nargsf, names);
    return generator ? drive(generator) : NULL;
}

static void
inline_dealloc(PyObject *self)
{
    Py_DECREF(((Inline *)self)->function);
    PyObject_Free(self);
}

static PyTypeObject InlineType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "floor.Inline",
    .tp_basicsize = sizeof(Inline),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Inline, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = inline_dealloc,
};

static PyObject *
inline_callbacks(PyObject *module, PyObject *function)
{
    Inline *self = PyObject_New(Inline, &InlineType);
    self->vectorcall = inline_call;
    self->function = Py_NewRef(function);
    return (PyObject *)self;
}

static PyObject *
ensure_deferred(PyObject *module, PyObject *coroutine)
{
    return drive(Py_NewRef(coroutine));
}

/* ---- Functions that make Deferreds. */

static PyObject *
succeed(PyObject *module, PyObject *value)
{
    return (PyObject *)deferred_of(&DeferredType, Py_NewRef(value));
}

static PyObject *
fail(PyObject *module, PyObject *exception)
{
    return (PyObject *)deferred_of(&DeferredType, failure_of(Py_NewRef(exception)));
}

static PyObject *
maybe_deferred(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    PyObject *value = PyObject_Vectorcall(args[0], args + 1, count - 1, NULL);
    return (PyObject *)deferred_of(&DeferredType, value ? value : failure_of(raised()));
}

/* Of a list. The value of each at its place: no callback is added. */
static PyObject *
gather(PyObject *list, int pairs)
{
    Py_ssize_t count = PyList_GET_SIZE(list);
    Gathering *self = (Gathering *)deferred_of(&GatheringType, NULL);
    self->items = PyList_New(count);
    self->left = count;
    self->pairs = pairs;
    for (Py_ssize_t i = 0; i < count; i++) {
        Deferred *item = (Deferred *)PyList_GET_ITEM(list, i);
        item->place = i;
        if (item->result)
            gathered(self, i, item->result);
        else
            item->waiter = (Deferred *)Py_NewRef(self);
    }
    return (PyObject *)self;
}

static PyObject *
gather_results(PyObject *module, PyObject *list)
{
    return gather(list, 0);
}

static PyObject *
deferred_list(PyObject *module, PyObject *list)
{
    return gather(list, 1);
}

#include "floor_locks.h"

/* ---- The module. */

static PyMethodDef functions[] = {
    {"succeed", succeed, METH_O, NULL},
    {"fail", fail, METH_O, NULL},
    {"maybeDeferred", (PyCFunction)maybe_deferred, METH_FASTCALL, NULL},
    {"gatherResults", gather_results, METH_O, NULL},
    {"DeferredList", deferred_list, METH_O, NULL},
    {"inlineCallbacks", inline_callbacks, METH_O, NULL},
    {"ensureDeferred", ensure_deferred, METH_O, NULL},
    {NULL},
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "floor", .m_methods = functions};

PyMODINIT_FUNC
PyInit_floor(void)
{
    PyObject *self = PyModule_Create(&module);
    str_throw = PyUnicode_InternFromString("throw");
    CancelledError = PyErr_NewException("floor.CancelledError", NULL, NULL);
    struct {
        const char *name;
        PyTypeObject *type;
    } types[] = {
        {"Failure", &FailureType},
        {"Deferred", &DeferredType},
        {"Driven", &DrivenType},
        {"Gathering", &GatheringType},
        {"Inline", &InlineType},
        {"DeferredLock", &SemaphoreType},
        {"DeferredSemaphore", &SemaphoreType},
        {"DeferredQueue", &QueueType},
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(*types); i++) {
        PyType_Ready(types[i].type);
        PyModule_AddObjectRef(self, types[i].name, (PyObject *)types[i].type);
    }
    PyModule_AddObjectRef(self, "CancelledError", CancelledError);
    return self;
}
