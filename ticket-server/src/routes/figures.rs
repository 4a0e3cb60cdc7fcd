//! What everybody may read of a sale as a whole: the ranking of completions, and statistics.

use std::sync::Arc;

use queue_core::{
    ids::Millis,
    service::http::{ApiError, Request, Response},
};

use super::{
    PublicApp, bodies,
    catalog::{paging, time},
    public::{raw_json, tagged},
    visitor::{Asker, private},
};
use crate::{fields::Problems, figures::Shown, model::Hall, office::Caller};

impl PublicApp {
    pub(super) async fn ranking(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId").await?;
        let mut problems = Problems::default();
        let paging = paging(request, &mut problems);
        let paging = problems.or(Some(paging)).map_err(bodies::refused)?;
        match self.participant(request, &hall).await? {
            Some(caller) => {
                let shown = self.figures.own_ranking(&hall, paging, &caller).await?;
                Ok(private(raw_json(shown.body)))
            }
            None => Ok(answer(request, &*self.figures.ranking(&hall, paging).await?)),
        }
    }

    pub(super) async fn stats(&self, request: &Request) -> Result<Response, ApiError> {
        let hall = self.hall(request, "eventId").await?;
        let mut problems = Problems::default();
        let before = time(request, "before", &mut problems).map(whole_minute);
        let before = problems.or(Some(before)).map_err(bodies::refused)?;
        Ok(answer(request, &*self.figures.stats(&hall, before).await?))
    }

    /// Somebody who shows a token of that event. Nobody needs one here, so that a cookie that is no good is none; a
    /// token in the header is meant to be one.
    async fn participant(&self, request: &Request, hall: &Hall) -> Result<Option<Arc<Caller>>, ApiError> {
        let asker = match self.asker(request).await {
            Ok(asker) => asker,
            Err(error) if request.bearer().is_some() => return Err(error),
            Err(_) => return Ok(None),
        };
        Ok(match asker {
            Asker::User(user) => Some(Arc::new(self.reader(&user, hall.event.clone()))),
            Asker::Session(shown) => {
                let readers = shown.readers(self.office.now())?;
                readers.into_iter().find(|caller| caller.event == hall.event)
            }
        })
    }
}

/// Times within a minute ask for the same.
fn whole_minute(at: Millis) -> Millis {
    Millis(at.0 - at.0 % crate::ledger::MINUTE_MS)
}

fn answer(request: &Request, shown: &Shown) -> Response {
    tagged(request, &shown.etag, || raw_json(shown.body.clone()))
}
