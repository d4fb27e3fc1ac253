"""The measurements of the paper: ROUGE, neutrality, forgetting, demographics; the tables and figures of them all."""
