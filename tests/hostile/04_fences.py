# Two fenced blocks, as they are.
# full: syntax
# user: syntax

```python
def add(a, b):
```
```python
    return a + b
```
