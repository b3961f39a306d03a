//! Taking away what a file says that no run needs.

use prost::Message;

use super::proto::ModelProto;
use crate::model::Model;

impl Model {
    /// Take away how the model is trained, which speaks of tensors by their names. Says whether there was any.
    pub(crate) fn drop_training(&mut self) -> bool {
        self.carry(|proto| {
            let had = !proto.training_info.is_empty();
            proto.training_info.clear();
            had
        })
    }

    /// Change what is carried around the graph. What `change` returns says whether it did.
    fn carry(&mut self, change: impl FnOnce(&mut ModelProto) -> bool) -> bool {
        // What was carried was encoded by the reader; a model that was built carries nothing.
        let Ok(mut proto) = ModelProto::decode(self.carried.clone()) else { return false };
        let changed = change(&mut proto);
        if changed {
            self.carried = proto.encode_to_vec().into();
        }
        changed
    }
}
