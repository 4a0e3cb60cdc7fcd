//! Every error code that leaves either server, with its HTTP status: the one table.
//!
//! `docs/errors.md` is held to this table by a test.

/// What a row of the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInfo {
    /// The stable name, SCREAMING_SNAKE.
    pub name: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// Whether the same request can succeed later.
    pub retryable: bool,
    /// What happened, for a person, when the place that failed has nothing more exact to say.
    pub message: &'static str,
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $retryable:literal, $message:literal;)*) => {
        /// A stable error code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $message] $variant,)* }

        impl Code {
            /// All codes, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The code's row.
            pub const fn info(self) -> CodeInfo {
                match self {
                    $(Code::$variant => CodeInfo { name: $name, status: $status, retryable: $retryable, message: $message },)*
                }
            }
        }
    };
}

codes! {
    MalformedBody = "MALFORMED_BODY", 400, false, "The body is not valid JSON.";
    InvalidRequest = "INVALID_REQUEST", 422, false, "The request breaks the schema.";
    NotSupported = "NOT_SUPPORTED", 422, false, "This field or value is not supported yet.";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, false, "The body must be application/json.";
    BodyTooLarge = "BODY_TOO_LARGE", 413, false, "The body is larger than this route takes.";
    MalformedRequest = "MALFORMED_REQUEST", 400, false, "The request must have exactly one Host header.";
    HeadTooLarge = "HEAD_TOO_LARGE", 431, false, "The request's head has too many fields.";
    RequestTimeout = "REQUEST_TIMEOUT", 408, true, "The body did not arrive in time.";
    NotFound = "NOT_FOUND", 404, false, "There is nothing at this address.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, false, "This address does not take that method.";
    MisdirectedRequest = "MISDIRECTED_REQUEST", 421, false, "The Host header does not name this listener.";
    UpgradeRequired = "UPGRADE_REQUIRED", 426, false, "This address speaks WebSocket, version 13.";
    OriginNotAllowed = "ORIGIN_NOT_ALLOWED", 403, false, "This origin may not do that.";
    RateLimited = "RATE_LIMITED", 429, true, "Too many requests.";
    Overloaded = "OVERLOADED", 503, true, "The server has more work than it can take. Try again shortly.";
    StoreUnavailable = "STORE_UNAVAILABLE", 503, true, "The store cannot be reached. Try again shortly.";
    Internal = "INTERNAL", 500, true, "Something went wrong on our side.";

    EventNotFound = "EVENT_NOT_FOUND", 404, false, "There is no such event.";
    QueueClosed = "QUEUE_CLOSED", 409, false, "The queue takes nobody new.";
    QueueFull = "QUEUE_FULL", 503, true, "The queue is full. Try again later.";
    QueueNotEmpty = "QUEUE_NOT_EMPTY", 409, false, "There are people in the queue.";
    UserTokenRequired = "USER_TOKEN_REQUIRED", 401, false, "Log in first: a user token is required.";
    UserTokenInvalid = "USER_TOKEN_INVALID", 401, false, "The user token is not valid.";
    PlaceTokenRequired = "PLACE_TOKEN_REQUIRED", 401, false, "A place token is required.";
    PlaceTokenInvalid = "PLACE_TOKEN_INVALID", 403, false, "The place token is not valid here.";
    VisitorNotFound = "VISITOR_NOT_FOUND", 404, false, "This visitor is not known.";
    EventRequired = "EVENT_REQUIRED", 400, false, "The query must name the event.";
    OperatorTokenRequired = "OPERATOR_TOKEN_REQUIRED", 401, false, "An operator token is required.";
    OperatorTokenInvalid = "OPERATOR_TOKEN_INVALID", 403, false, "The token does not permit this.";

    ActiveTokenRequired = "ACTIVE_TOKEN_REQUIRED", 401, false, "An active token is required.";
    ActiveTokenInvalid = "ACTIVE_TOKEN_INVALID", 401, false, "The active token is not valid.";
    SessionEnded = "SESSION_ENDED", 403, false, "The session has ended.";
    SessionGone = "SESSION_GONE", 410, false, "The session has ended.";
    WrongEvent = "WRONG_EVENT", 403, false, "The active token is for another event.";
    SeatTaken = "SEAT_TAKEN", 409, false, "At least one of the seats is taken.";
    SeatNotFound = "SEAT_NOT_FOUND", 404, false, "There is no such seat in this event.";
    TicketTypeNotFound = "TICKET_TYPE_NOT_FOUND", 404, false, "There is no such ticket type in this event.";
    SeatsInUse = "SEATS_IN_USE", 409, false, "The change would take away what is held or sold.";
    SoldOut = "SOLD_OUT", 409, false, "Not enough tickets are left.";
    NotTogether = "NOT_TOGETHER", 409, false, "There are enough seats, but not next to each other.";
    LimitExceeded = "LIMIT_EXCEEDED", 409, false, "The visitor's limit would be exceeded.";
    ReservationNotFound = "RESERVATION_NOT_FOUND", 404, false, "There is no such reservation.";
    ReservationNotHeld = "RESERVATION_NOT_HELD", 409, false, "The reservation is no longer a hold.";
    ExtensionLimit = "EXTENSION_LIMIT", 409, false, "The hold cannot be extended further.";
    HoldExpired = "HOLD_EXPIRED", 410, false, "The hold is gone.";
    PaymentRequired = "PAYMENT_REQUIRED", 402, false, "A paid order is required first.";
    IdempotencyKeyRequired = "IDEMPOTENCY_KEY_REQUIRED", 400, false, "The Idempotency-Key header is required.";
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", 422, false, "The Idempotency-Key was used with another body.";
    OrderInProgress = "ORDER_IN_PROGRESS", 409, true, "The order is still running.";
    LetterNotFound = "LETTER_NOT_FOUND", 404, false, "There is no such dead letter.";
    OrderNotFound = "ORDER_NOT_FOUND", 404, false, "There is no such order.";
    PaymentDeclined = "PAYMENT_DECLINED", 402, false, "The payment was declined.";
    PaymentUnavailable = "PAYMENT_UNAVAILABLE", 503, true, "The payment provider cannot be reached. Nothing was paid. Order again with a new Idempotency-Key.";
    SignatureInvalid = "SIGNATURE_INVALID", 401, false, "The message is not signed with the shared secret, or not lately.";
    LedgerUnavailable = "LEDGER_UNAVAILABLE", 503, true, "The ledger cannot be reached. Try again shortly.";
    KeysUnavailable = "KEYS_UNAVAILABLE", 503, true, "The keys that tokens are checked with cannot be fetched. Try again shortly.";
}
