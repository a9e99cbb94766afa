//! The names of attributes and methods that the Rust half uses, as Python strings.
//!
//! PyO3's macro for that makes each string when it is first needed. It releases the GIL meanwhile
//! and holds a lock: if another thread forks then, the child has that lock forever. Ours are made
//! with the module.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::held::keep;
use super::raised::Result;
use super::safe;

/// A string that is made with the module.
pub(crate) struct Name {
    text: &'static str,
    /// Written once, and locked only while the pointer is written.
    made: PyOnceLock<Py<PyString>>,
}

impl Name {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self { text, made: PyOnceLock::new() }
    }

    /// The string.
    #[inline(always)]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        match self.made.get(py) {
            Some(made) => made.bind(py),
            None => self.make_early(py),
        }
    }

    /// The string, if it is needed before the module is complete.
    #[cold]
    fn make_early<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        loop {
            match self.made.get(py) {
                Some(made) => return made.bind(py),
                None => keep(&self.made, PyString::intern(py, self.text)),
            }
        }
    }

    /// Make it.
    pub(crate) fn make(&self, py: Python<'_>) -> Result<()> {
        if self.made.get(py).is_none() {
            keep(&self.made, new_interned(py, self.text)?);
        }
        Ok(())
    }
}

/// The interned copy of a string.
pub(super) fn interned(mut string: Bound<'_, PyString>) -> Bound<'_, PyString> {
    safe::intern(string.py(), &mut string);
    string
}

/// An interned string.
pub(crate) fn new_interned<'py>(py: Python<'py>, text: &str) -> Result<Bound<'py, PyString>> {
    Ok(interned(PyString::from_bytes(py, text.as_bytes())?))
}

macro_rules! table {
    ($dollar:tt $($name:ident = $text:tt,)+) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub(crate) static $name: Name = Name::new($text);
        )+

        /// Make all of them.
        pub(crate) fn make_names(py: Python<'_>) -> Result<()> {
            $($name.make(py)?;)+
            Ok(())
        }

        /// One of the names, as a Python string that lives as long as the process.
        macro_rules! interned {
            $(($dollar py:expr, $text) => {
                $crate::binding::capi::interned::$name.get($dollar py)
            };)+
        }
    };
}

table! {$
    STOP = "_stop",
    CLOSE = "close",
    ADDERRBACK = "addErrback",
    ACLOSE = "aclose",
    ITEMS_CLOSED = "_items_closed",
    FILTERS = "filters",
    HANDLERS = "handlers",
    PROPAGATE = "propagate",
    PARENT = "parent",
    IS_DONE = "is_done",
    RESULT = "result",
    HUNGRY = "_hungry",
    EXHAUSTED = "_exhausted",
    CLOSING = "_closing",
    CALLS = "_calls",
    IS_ASYNC = "_is_async",
    IS_DELAYED = "_is_delayed",
    CALL_ENDED = "_call_ended",
    PLACES = "_places",
    NEW_PLACE = "_new_place",
    LIMIT = "_limit",
    FEEDING = "_feeding",
    STOPPED = "_stopped",
    RUNNING = "_running",
    IS_RUNNING = "running",
    CALL_FROM_THREAD = "callFromThread",
    CALL_SOON_THREADSAFE = "call_soon_threadsafe",
    FETCHED = "_fetched",
    ANEXT = "__anext__",
    TAKEN = "_taken",
    ITERATOR = "_iterator",
    FUNCTION = "_function",
    FETCHING = "_fetching",
    RUN = "run",
    PART_OF = "_part_of",
    ACQUIRE = "acquire",
    ACTIVE = "active",
    CALL_LATER = "callLater",
    IS_OVER = "is_over",
    TIME_IT_OUT = "timeItOut",
    TIME_IT_OUT_IN_FULL = "Deferred.addTimeout.<locals>.timeItOut",
    CLASS_NAME = "Deferred",
    ADD_BOTH = "addBoth",
    ALREADY_CALLED_NOTE = "With setDebugging(True), this says where it was fired before.",
    NO_RESULT = "'Deferred' object has no attribute 'result'",
    INIT = "__init__",
    NOTES = "__notes__",
    DUNDER_ITER = "__iter__",
    ADD_CALLBACK = "addCallback",
    ADD_CALLBACKS = "addCallbacks",
    ARGS = "args",
    ARRIVE = "_arrive",
    ASYNCIO_FUTURE_BLOCKING = "_asyncio_future_blocking",
    CALLABLE = "callable",
    CALLED = "called",
    CANCELLER = "_canceller",
    CALLBACK = "callback",
    CALLBACK_ARGS = "callbackArgs",
    CALLBACK_KEYWORDS = "callbackKeywords",
    ERRBACK_KEYWORDS = "errbackKeywords",
    CANCEL = "cancel",
    CANCELLED = "cancelled",
    CANCEL_ACQUIRE = "_cancelAcquire",
    TAKE_BACK = "_take_back",
    CANCEL_GET = "_cancelGet",
    CAPTURE_VARS = "captureVars",
    CAUSE = "__cause__",
    CB_DEFERRED = "_cbDeferred",
    CHAINED_TO = "_chainedTo",
    CHECK = "check",
    CLASS = "__class__",
    CLEAR = "clear",
    CONSUME_ERRORS = "consumeErrors",
    CONTEXT = "__context__",
    COPY = "copy",
    COUNT = "count",
    CREATE_FUTURE = "create_future",
    CREATOR = "creator",
    CODE = "__code__",
    CO_FILENAME = "co_filename",
    CR_AWAIT = "cr_await",
    CR_CODE = "cr_code",
    CR_FRAME = "cr_frame",
    CR_RUNNING = "cr_running",
    DEBUG = "debug",
    DEL = "__del__",
    DEBUG_INFO = "DebugInfo",
    DEBUG_INFO_OF_DEFERRED = "_debugInfo",
    DICT = "__dict__",
    EQ = "__eq__",
    EXCEPTIONS = "exceptions",
    ERRBACK = "errback",
    ERRBACK_ARGS = "errbackArgs",
    EXTEND = "extend",
    F = "f",
    FAILTHRU = "_failthru",
    FAIL_RESULT = "failResult",
    FIRE_ON_ONE_ERRBACK = "fireOnOneErrback",
    FROM_CANCELLER = "Exception raised from user supplied canceller",
    GI_CODE = "gi_code",
    GI_FRAME = "gi_frame",
    GI_YIELDFROM = "gi_yieldfrom",
    GI_RUNNING = "gi_running",
    FUNC = "func",
    FUNCTION_OF_METHOD = "__func__",
    DUNDER_CALL = "__call__",
    GET = "__get__",
    GETATTRIBUTE = "__getattribute__",
    GET_DEBUG_TRACEBACKS = "_getDebugTracebacks",
    IMUL = "__imul__",
    INDEX = "index",
    INSERT = "insert",
    INVOKER = "invoker",
    MESSAGE = "message",
    MODULE = "__module__",
    NAME = "__name__",
    OWN_PARENTS = "_parents",
    PARENTS = "parents",
    PASSTHRU = "passthru",
    PAUSE = "pause",
    POP = "pop",
    RAISE_EXCEPTION = "raiseException",
    RELEASE = "release",
    RELEASE_AND_RETURN = "_releaseAndReturn",
    REMOVE = "remove",
    REVERSED = "__reversed__",
    SELF = "__self__",
    SET = "__set__",
    SET_RESULT = "set_result",
    LEFT = "_left",
    COME_BACK = "_come_back",
    OWNER = "owner",
    NOT_TAKEN = "_not_taken",
    FREE = "_value",
    IS_SET = "_is_set",
    MAXSIZE = "_maxsize",
    UNFINISHED = "_unfinished",
    POPLEFT = "popleft",
    BUFFER = "_buffer",
    OWN_CORO = "_coro",
    OWN_THREAD_ID = "_thread_id",
    OWN_PUSH = "_push",
    OWN_UNDO_PUSH = "_undo_push",
    OWN_POP = "_pop",
    OWN_UNDO_POP = "_undo_pop",
    OVER = "_over",
    OWN_QUEUE = "_queue",
    OWN_NUMBERS = "_numbers",
    OWN_WAY = "_way",
    OWN_GET = "_get",
    OWN_PUT = "_put",
    OWN_IS_SHUT_DOWN = "_is_shut_down",
    OWN_IS_SHUT_AT_ONCE = "_is_shut_at_once",
    OWN_JOINING = "_joining",
    OWN_GETTING = "_getting",
    OWN_PUTTING = "_putting",
    EMPTY = "empty",
    OWN_BROADCAST = "_broadcast",
    OWN_ITEMS = "_items",
    OWN_RETURNED = "_returned",
    OWN_FULL = "_full",
    OWN_DELIVERING = "_delivering",
    OWN_READERS = "_readers",
    OWN_SENDING = "_sending",
    OWN_CLOSED = "_closed",
    NOTIFIED = "notified",
    HAS_LOCK = "has_lock",
    ABANDONED = "abandoned",
    PAUSED = "paused",
    UNPAUSE = "unpause",
    OWN_WAITING = "_waiting",
    OWN_BROKEN = "_broken",
    OWN_LOCK = "_lock",
    OWN_ACQUIRED_FOR = "_acquired_for",
    OWN_NOT_ACQUIRED_FOR = "_not_acquired_for",
    FULL = "full",
    INSERT_AT = "_insert",
    APPEND = "append",
    WHAT = "what",
    SORT = "sort",
    SUB_FAILURE = "subFailure",
    TB = "tb",
    THROW = "throw",
    THROW_INTO_GENERATOR = "throwExceptionIntoGenerator",
    TRACEBACK = "__traceback__",
    TRAP = "trap",
    TYPE = "type",
    VALUE = "value",
    QUALNAME = "__qualname__",
    WARN = "warn",
    WITH_TRACEBACK = "with_traceback",
    CACHE = "cache",
    GETLINE = "getline",
    GETLINES = "getlines",
    GLOBALS = "__globals__",
    STR = "__str__",
    STACK = "stack",
    STRIP = "strip",
    TB_FRAME = "tb_frame",
    TB_LINENO = "tb_lineno",
    TB_NEXT = "tb_next",
    F_CODE = "f_code",
    CO_NAME = "co_name",
    OWN_FRAMES = "_frames",
    FRAMES = "frames",
    PICKLED = "pickled",
    GET_ERROR_MESSAGE = "getErrorMessage",
    GET_BRIEF_TRACEBACK = "getBriefTraceback",
    GET_TRACEBACK = "getTraceback",
    PRINT_TRACEBACK = "printTraceback",
    PRINT_BRIEF_TRACEBACK = "printBriefTraceback",
    DUNDER_GETATTR = "__getattr__",
    SETATTR = "__setattr__",
    GETSTATE = "__getstate__",
    SETSTATE = "__setstate__",
    REDUCE = "__reduce__",
    REDUCE_EX = "__reduce_ex__",
    DUNDER_INDEX = "__index__",
    SETDEFAULT = "setdefault",
    WAS_DELAYED = "_was_delayed",
    APPENDLEFT = "appendleft",
    OWN_CAPACITY = "_capacity",
    OWN_KEYS = "_keys",
    OWN_LIMIT = "_limit",
    OWN_PARTIES = "_parties",
    OWN_TURN = "_turn",
    CANCELLER_BEHIND = "canceller",
    TOKENS = "tokens",
    SIZE = "size",
    BACKLOG = "backlog",
    CONDITION = "condition",
    LOCKED = "locked",
    OWN_LOOP = "_loop",
    OWN_DEBUG = "_debug",
    OWN_READY = "_ready",
    OWN_CALLBACKS = "_callbacks",
    CALL_SOON = "call_soon",
    REMOVE_DONE_CALLBACK = "remove_done_callback",
    ADD_DONE_CALLBACK = "add_done_callback",
    LOOP = "loop",
    IN_CONTEXT = "context",
}

pub(crate) use interned as intern;
