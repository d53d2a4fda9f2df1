"""Sets of texts that are only embedded (conf/texts): what drift is measured on besides the tasks."""
