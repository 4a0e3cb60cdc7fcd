//! What the browser reports of itself: complaints, traffic, dialogs.

use serde_json::{Value, json};

/// The command that answers the dialog of an event. Its own answer is nobody's: commands count from 1.
pub fn yes(event: &Value) -> String {
    let params = json!({"accept": true});
    let command =
        json!({"id": 0, "method": "Page.handleJavaScriptDialog", "params": params, "sessionId": event["sessionId"]});
    command.to_string()
}

/// What an event of the protocol says that should not have happened.
pub fn complaint(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Runtime.exceptionThrown" => {
            Some(format!("exception: {}", params["exceptionDetails"]["exception"]["description"]))
        }
        "Runtime.consoleAPICalled" if matches!(params["type"].as_str()?, "error" | "warning" | "assert") => {
            Some(format!("console: {}", params["args"]))
        }
        "Log.entryAdded" if matches!(params["entry"]["level"].as_str()?, "error" | "warning") => {
            Some(format!("{}: {} {}", params["entry"]["source"], params["entry"]["text"], params["entry"]["url"]))
        }
        _ => None,
    }
}

/// What an event of the protocol says about the network.
pub fn step(message: &Value) -> Option<String> {
    let params = &message["params"];
    match message["method"].as_str()? {
        "Network.requestWillBeSent" => Some(format!("{} {}", params["request"]["method"], params["request"]["url"])),
        "Network.responseReceived" => Some(format!("{} {}", params["response"]["status"], params["response"]["url"])),
        "Network.loadingFailed" => Some(format!("failed: {}", params["errorText"])),
        "Network.webSocketFrameSent" => Some(format!("sent {}", params["response"]["payloadData"])),
        "Network.webSocketFrameReceived" => Some(format!("heard {}", params["response"]["payloadData"])),
        "Network.webSocketClosed" => Some("socket closed".to_owned()),
        _ => None,
    }
}
