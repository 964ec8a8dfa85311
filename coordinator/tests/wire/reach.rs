use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proto::Token;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};

/// Longer than anything here takes on a machine that is busy with other things.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A channel that shows the token.
pub(crate) type Authorized = InterceptedService<Channel, Token>;

/// Where the coordinator of a run directory can be reached, and its token; none while it is starting.
pub(crate) fn address(run_dir: &Path) -> Option<(String, Token)> {
    let address = fs::read_to_string(run_dir.join("address")).ok()?;
    let token = fs::read_to_string(run_dir.join("token")).ok()?;
    Some((address.trim().to_owned(), Token::new(&token).ok()?))
}

/// A connection, with the token.
pub(crate) async fn connect(run_dir: &Path) -> (Channel, Token) {
    let started = Instant::now();
    loop {
        if let Some((address, token)) = address(run_dir)
            && let Ok(channel) = Endpoint::from_shared(address)
                .unwrap()
                .timeout(LIMIT)
                .connect()
                .await
        {
            return (channel, token);
        }
        assert!(started.elapsed() < LIMIT, "no coordinator can be reached");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
