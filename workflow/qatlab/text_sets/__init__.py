"""Sets of texts without judgements (conf/texts), on which embedding drift is measured in addition to the tasks."""
