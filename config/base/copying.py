# Copying, once there is a language: 2M tokens teach what 350M tokens of talk did not. See runs/base.sh.
init_from = "out-base/chat"
data_dir = "data/base/copying"
out_dir = "out-base/copying"
block_size = 512
learn = "bot"

batch_size = 8
muon = True
muon_lr = 0.005
learning_rate = 6e-4
min_lr = 0.0
beta2 = 0.98
weight_decay = 0.05
warmup_iters = 20
max_iters = 500
eval_interval = 50
eval_iters = 4
patience = 0
copy_probe = True
