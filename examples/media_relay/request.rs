//! What a URL asks for: `ws://host:port/CHANNEL?lag=POLICY&budget=BYTES&start=key&label=NAME`.
//!
//! Publisher and viewers of a channel have the same URL. The subprotocol tells them apart, and a client that offers none
//! is a viewer, so that browsers and general tools need nothing special.

use clap::ValueEnum;
use http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;
use wsstream::{
    CloseCode,
    fanout::{Lag, ReceiverOptions, Start},
};

use crate::{failure::Failure, size::parse_size};

pub(crate) const PUBLISH: &str = "publish.media.v1";
pub(crate) const VIEW: &str = "view.media.v1";

/// Longest name of a channel, or label of a viewer.
const MAX_NAME: usize = 100;

/// What happens when a viewer lags by more than its budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// Frames are dropped until a key frame.
    #[default]
    SkipToKey,
    /// The oldest frames are dropped.
    DropOldest,
    /// New frames are dropped.
    DropNewest,
    /// The viewer is closed, with 1013.
    Disconnect,
    /// The publisher waits, and so does everybody; only where the relay allows it.
    Wait,
}

impl Policy {
    fn lag(self) -> Lag {
        match self {
            Self::SkipToKey => Lag::SkipToKey,
            Self::DropOldest => Lag::DropOldest,
            Self::DropNewest => Lag::DropNewest,
            Self::Disconnect => Lag::Disconnect(CloseCode::TRY_AGAIN_LATER),
            Self::Wait => Lag::Wait,
        }
    }

    /// As it stands in a query.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Where a viewer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Begin {
    /// With the last key frame.
    #[default]
    Key,
    /// With the next frame.
    Now,
}

/// What viewers may ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) allow_wait: bool,
    pub(crate) max_budget: u64,
}

/// How a viewer is to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Viewing {
    pub(crate) lag: Policy,
    pub(crate) budget: u64,
    begin: Begin,
    /// What the relay calls it in its log.
    pub(crate) label: String,
}

impl Viewing {
    pub(crate) fn options(&self) -> ReceiverOptions {
        let start = match self.begin {
            Begin::Key => Start::Key,
            Begin::Now => Start::Now,
        };
        ReceiverOptions::default().budget(self.budget as usize).lag(self.lag.lag()).start(start)
    }

    pub(crate) fn parse(uri: &Uri, limits: Limits) -> Result<Self, Failure> {
        let mut viewing = Self {
            lag: Policy::default(),
            budget: (1 << 20).min(limits.max_budget),
            begin: Begin::default(),
            label: String::new(),
        };
        let mut seen = Vec::new();
        for (key, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "lag" => viewing.lag = one_of(&key, &value)?,
                "start" => viewing.begin = one_of(&key, &value)?,
                "budget" => viewing.budget = budget(&value, limits.max_budget)?,
                "label" => {
                    check_name("label", &value)?;
                    viewing.label = value.into_owned();
                }
                _ => {
                    let message = format!("unknown parameter {key:?}; use lag, budget, start or label");
                    return Err(Failure::bad_request(message));
                }
            }
            if seen.contains(&key) {
                return Err(Failure::bad_request(format!("{key} is there twice; give it once")));
            }
            seen.push(key);
        }
        if viewing.lag == Policy::Wait && !limits.allow_wait {
            let message = "lag=wait lets a viewer hold up the publisher, which this relay does not allow; \
                           use lag=skip-to-key, or start the relay with --allow-wait";
            return Err(Failure::new(StatusCode::FORBIDDEN, message));
        }
        Ok(viewing)
    }
}

fn one_of<T: ValueEnum>(key: &str, value: &str) -> Result<T, Failure> {
    T::from_str(value, false).map_err(|_| {
        let values = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let names: Vec<_> = values.map(|value| value.get_name().to_owned()).collect();
        Failure::bad_request(format!("unknown {key} {value:?}; use one of {}", names.join(", ")))
    })
}

fn budget(value: &str, max: u64) -> Result<u64, Failure> {
    match parse_size(value) {
        Ok(bytes) if bytes <= max => Ok(bytes),
        Ok(_) => {
            let message = format!("budget={value} is more than this relay allows; use at most {max} bytes");
            Err(Failure::bad_request(message))
        }
        Err(_) => Err(Failure::bad_request(format!("{value:?} is no budget; use bytes, 64KiB or 1MiB for example"))),
    }
}

/// The channel that a URL names.
pub(crate) fn channel(uri: &Uri) -> Result<String, Failure> {
    let name = uri.path().strip_prefix('/').unwrap_or_default();
    if name.is_empty() {
        return Err(Failure::bad_request("no channel is named; use a URL like ws://host:port/NAME"));
    }
    check_name("name of a channel", name)?;
    Ok(name.to_owned())
}

/// Names go into logs and other people's terminals.
fn check_name(what: &str, name: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    let has_empty_part = name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if name.len() > MAX_NAME || has_empty_part || !name.bytes().all(is_allowed) {
        let message = format!(
            "this is no {what}; use at most {MAX_NAME} letters, digits, hyphens, underscores and dots, and slashes between them"
        );
        return Err(Failure::bad_request(message));
    }
    Ok(())
}
