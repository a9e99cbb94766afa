/* Part of floor.c: after Deferreds. */

/* ---- Locks and queues: a count, and a ring of what waits. */

typedef struct {
    PyObject **items;
    size_t first, count, size; /* a power of two */
} Ring;

static void
push(Ring *ring, PyObject *item)
{
    if (ring->count == ring->size) {
        size_t size = ring->size ? ring->size * 2 : 8;
        PyObject **items = PyMem_Malloc(size * sizeof(*items));
        for (size_t i = 0; i < ring->count; i++)
            items[i] = ring->items[(ring->first + i) & (ring->size - 1)];
        PyMem_Free(ring->items);
        *ring = (Ring){items, 0, ring->count, size};
    }
    ring->items[(ring->first + ring->count++) & (ring->size - 1)] = item;
}

static PyObject *
pop(Ring *ring)
{
    PyObject *item = ring->items[ring->first];
    ring->first = (ring->first + 1) & (ring->size - 1);
    ring->count--;
    return item;
}

static void
ring_clear(Ring *ring)
{
    while (ring->count)
        Py_DECREF(pop(ring));
    PyMem_Free(ring->items);
}

/* A Deferred that waits its turn. */
static PyObject *
waiting_in(Ring *ring)
{
    PyObject *deferred = (PyObject *)deferred_of(&DeferredType, NULL);
    push(ring, Py_NewRef(deferred));
    return deferred;
}

static void
fire_first(Ring *ring, PyObject *value)
{
    Deferred *deferred = (Deferred *)pop(ring);
    fire(deferred, Py_NewRef(value));
    Py_DECREF(deferred);
}

/* The lock is the semaphore of one. */
typedef struct {
    PyObject_HEAD
    Py_ssize_t tokens;
    Ring waiting;
} Semaphore;

static PyObject *
semaphore_new(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Semaphore *self = (Semaphore *)_PyObject_New((PyTypeObject *)type);
    self->tokens = PyVectorcall_NARGS(nargsf) ? PyLong_AsSsize_t(args[0]) : 1;
    self->waiting = (Ring){0};
    return (PyObject *)self;
}

static void
semaphore_dealloc(PyObject *self)
{
    ring_clear(&((Semaphore *)self)->waiting);
    PyObject_Free(self);
}

static PyObject *
acquire(PyObject *object, PyObject *ignored)
{
    Semaphore *self = (Semaphore *)object;
    if (!self->tokens)
        return waiting_in(&self->waiting);
    self->tokens--;
    return succeed(NULL, object);
}

static PyObject *
release(PyObject *object, PyObject *ignored)
{
    Semaphore *self = (Semaphore *)object;
    if (self->waiting.count)
        fire_first(&self->waiting, object);
    else
        self->tokens++;
    Py_RETURN_NONE;
}

static PyMethodDef semaphore_methods[] = {
    {"acquire", acquire, METH_NOARGS, NULL},
    {"release", release, METH_NOARGS, NULL},
    {NULL},
};

static PyTypeObject SemaphoreType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "floor.DeferredSemaphore",
    .tp_basicsize = sizeof(Semaphore),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = semaphore_dealloc,
    .tp_methods = semaphore_methods,
    .tp_vectorcall = semaphore_new,
};

typedef struct {
    PyObject_HEAD
    Ring waiting, pending;
} Queue;

static PyObject *
queue_new(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    Queue *self = (Queue *)_PyObject_New((PyTypeObject *)type);
    self->waiting = self->pending = (Ring){0};
    return (PyObject *)self;
}

static void
queue_dealloc(PyObject *self)
{
    ring_clear(&((Queue *)self)->waiting);
    ring_clear(&((Queue *)self)->pending);
    PyObject_Free(self);
}

static PyObject *
put(PyObject *object, PyObject *value)
{
    Queue *self = (Queue *)object;
    if (self->waiting.count)
        fire_first(&self->waiting, value);
    else
        push(&self->pending, Py_NewRef(value));
    Py_RETURN_NONE;
}

static PyObject *
get(PyObject *object, PyObject *ignored)
{
    Queue *self = (Queue *)object;
    if (!self->pending.count)
        return waiting_in(&self->waiting);
    return (PyObject *)deferred_of(&DeferredType, pop(&self->pending));
}

static PyMethodDef queue_methods[] = {
    {"put", put, METH_O, NULL},
    {"get", get, METH_NOARGS, NULL},
    {NULL},
};

static PyTypeObject QueueType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "floor.DeferredQueue",
    .tp_basicsize = sizeof(Queue),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = queue_dealloc,
    .tp_methods = queue_methods,
    .tp_vectorcall = queue_new,
};
