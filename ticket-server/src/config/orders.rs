//! The settings of orders: who takes the money, and who is told.

use std::time::Duration;

use queue_core::service::{
    config::{Raw, Setting},
    pages::web_address,
    secret::Secret,
};

use crate::{orders, payments::Behaviour};

/// Secrets that messages are signed with have at least so many characters.
const SECRET_CHARS_MIN: usize = 32;

/// The settings.
pub const ORDER_SETTINGS: &[Setting] = &[
    Setting::value(
        "payments",
        "USHER_PAYMENTS",
        "WHO",
        "Who takes the money: off, simulated (no money moves), or a provider's address [default: simulated where visitors are served on loopback alone, else off]",
    )
    .secret(),
    Setting::secret_file(
        "payment-secret-file",
        "USHER_PAYMENT_SECRET",
        "A file with the secret shared with the payment provider, at least 32 characters",
    ),
    Setting::value(
        "simulated-payments",
        "USHER_SIMULATED_PAYMENTS",
        "BEHAVIOUR",
        "How the simulated provider behaves: delay=20..200 (ms), and shares from 0 to 1 of decline, timeout, lost",
    )
    .or("delay=0"),
    Setting::value(
        "payment-timeout-ms",
        "USHER_PAYMENT_TIMEOUT_MS",
        "MS",
        "How long one call to the payment provider may take",
    )
    .or("5000"),
    Setting::value(
        "payment-wait-seconds",
        "USHER_PAYMENT_WAIT_SECONDS",
        "SECONDS",
        "How long an authorization that is not clear is waited for before it is called off",
    )
    .or("60"),
    Setting::value(
        "notify-url",
        "USHER_NOTIFY_URL",
        "URL",
        "Where confirmed and refunded orders are told to the buyers' system",
    )
    .secret(),
    Setting::secret_file(
        "notify-secret-file",
        "USHER_NOTIFY_SECRET",
        "A file with the secret that those messages are signed with, at least 32 characters",
    ),
];

/// Who takes the money.
#[derive(Clone, Debug)]
pub enum PaymentsConfig {
    /// Nobody: orders are paid from stored value alone.
    Off,
    /// Nobody either, but it is pretended.
    Simulated(Behaviour),
    /// A provider at an address, and the secret that both know.
    Http(String, Secret),
}

/// Who is told of orders.
#[derive(Clone, Debug)]
pub struct NotifyConfig {
    /// Where.
    pub url: String,
    /// What the messages are signed with.
    pub secret: Secret,
}

/// The settings of orders, checked.
#[derive(Clone, Debug)]
pub struct OrderConfig {
    pub payments: PaymentsConfig,
    /// One call to the provider.
    pub timeout: Duration,
    pub patience: orders::Patience,
    pub notify: Option<NotifyConfig>,
}

impl OrderConfig {
    /// Reads the settings; what is wrong with them is collected in `raw`. Pretending is the default where nobody
    /// from outside can be a buyer.
    pub(super) fn read(raw: &mut Raw, on_loopback: bool) -> Self {
        let behaviour = raw.value("simulated-payments", "such as delay=20..200,decline=0.05", str::parse::<Behaviour>);
        let secret = raw.secret("payment-secret-file", SECRET_CHARS_MIN);
        let who = raw.optional("payments", "off, simulated, or an address such as https://pay.example/usher", who);
        let payments = match who.unwrap_or(if on_loopback { Who::Simulated } else { Who::Off }) {
            Who::Off => PaymentsConfig::Off,
            Who::Simulated => PaymentsConfig::Simulated(behaviour),
            Who::Http(url) => match secret {
                Some(secret) => PaymentsConfig::Http(url, secret),
                None => {
                    raw.problem("payment-secret-file", "a secret, since payments names a provider");
                    PaymentsConfig::Off
                }
            },
        };
        let wait = raw.number("payment-wait-seconds", 5, 600);
        Self {
            payments,
            timeout: Duration::from_millis(raw.number("payment-timeout-ms", 100, 30_000)),
            patience: orders::Patience { authorization: Duration::from_secs(wait), ..orders::Patience::default() },
            notify: notify(raw),
        }
    }
}

enum Who {
    Off,
    Simulated,
    Http(String),
}

fn who(text: &str) -> Result<Who, &'static str> {
    match text {
        "off" => Ok(Who::Off),
        "simulated" => Ok(Who::Simulated),
        text => web_address(text).map(Who::Http),
    }
}

fn notify(raw: &mut Raw) -> Option<NotifyConfig> {
    let secret = raw.secret("notify-secret-file", SECRET_CHARS_MIN);
    let url = raw.optional("notify-url", "an address such as https://shop.example/orders", web_address)?;
    if secret.is_none() {
        raw.problem("notify-secret-file", "a secret, since notify-url is set");
    }
    Some(NotifyConfig { url, secret: secret? })
}
