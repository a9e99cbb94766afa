/* Part of floor.c: exceptions, and what holds one. */

/* What changed its name since 3.10. */
static PyObject *
raised(void)
{
#if PY_VERSION_HEX >= 0x030C0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) {
        PyException_SetTraceback(value, traceback);
        Py_DECREF(traceback);
    }
    Py_DECREF(type);
    return value;
#endif
}

static PyObject *
handled(void)
{
#if PY_VERSION_HEX >= 0x030B0000
    return PyErr_GetHandledException();
#else
    PyObject *type, *value, *traceback;
    PyErr_GetExcInfo(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
#endif
}

/* ---- Failure: holds an exception. */

typedef struct {
    PyObject_HEAD
    PyObject *value;
} Failure;

static PyTypeObject FailureType;

/* Takes the reference. */
static PyObject *
failure_of(PyObject *value)
{
    Failure *self = PyObject_New(Failure, &FailureType);
    self->value = value;
    return (PyObject *)self;
}

#define IS_FAILURE(object) Py_IS_TYPE(object, &FailureType)
#define VALUE(failure) (((Failure *)(failure))->value)

/* Failure() is the exception being handled, Failure(exception) that one. */
static PyObject *
failure_new(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    return failure_of(PyVectorcall_NARGS(nargsf) ? Py_NewRef(args[0]) : handled());
}

static void
failure_dealloc(PyObject *self)
{
    Py_DECREF(VALUE(self));
    PyObject_Free(self);
}

/* The first of the types that the exception is of, or None. */
static PyObject *
failure_check(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyErr_GivenExceptionMatches(VALUE(self), args[i]))
            return Py_NewRef(args[i]);
    Py_RETURN_NONE;
}

static PyMethodDef failure_methods[] = {
    {"check", (PyCFunction)failure_check, METH_FASTCALL, NULL},
    /* The rows trap what is there. */
    {"trap", (PyCFunction)failure_check, METH_FASTCALL, NULL},
    {NULL},
};

static PyTypeObject FailureType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "floor.Failure",
    .tp_basicsize = sizeof(Failure),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_dealloc = failure_dealloc,
    .tp_methods = failure_methods,
    .tp_vectorcall = failure_new,
};
