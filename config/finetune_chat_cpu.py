# GPT-2 124M on PersonaChat within a coffee break on a laptop's CPU: less of the data, the same recipe.
# First: python data/personachat/prepare.py
init_from = "gpt2"
data_dir = "data/personachat"
out_dir = "out-chat"

# Some 200 tokens a second pass through a 124M model on two cores: 15 minutes are 150k to 200k tokens. They are spent
# on many small steps: 512 tokens hold two dialogues, which is enough to learn turns, tags and the persona.
block_size = 512
batch_size = 1
gradient_accumulation_steps = 2
max_minutes = 15  # the schedule adapts; more minutes, a better bot
max_iters = 2000

learning_rate = 3e-5  # lower than on a GPU: the steps are noisier
min_lr = 0.0  # so the last ones settle what they left
warmup_iters = 10
weight_decay = 0.01
beta2 = 0.999
eval_interval = 100
eval_iters = 20
log_interval = 5
