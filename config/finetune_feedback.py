# What you thought of replies, in minutes on a CPU: corrections and good replies are learned, and preferred to bad ones.
# First: python data/feedback/prepare.py
init_from = "models/small-talk"
data_dir = "data/feedback"
out_dir = "out-feedback"
block_size = 512

dpo_beta = 0.1
sft_weight = 1.0
batch_size = 1
learning_rate = 3e-4
min_lr = 0.0
beta2 = 0.98
weight_decay = 0.0
warmup_iters = 5
max_iters = 40
start_share = 0.4  # of what is saved: the new answers stay, and so does what was there before
max_minutes = 10
eval_interval = 20
patience = 0
