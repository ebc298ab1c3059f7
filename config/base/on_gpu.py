# Behind the config of a stage: the same on a GPU, with 128 rows a step. See runs/base.sh.
batch_size = 128
muon_lr = 0.02
learning_rate = 2e-3
min_lr = 0.0
max_iters = 5000
eval_interval = 500
eval_iters = 10
log_interval = 50
